// Brings a published set of weights from the learner. Called by the worker's session. Blocks.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "engine/rpc/client.h"
#include "engine/rpc/weight_image.h"

namespace fulcrum {

struct FetchedWeights {
  std::shared_ptr<const WeightSet> weights;
  TokenizerFiles tokenizer;  // without its files if its hash is `known_tokenizer`
};

// A broken transfer goes on where it broke. kNotFound: the learner has moved on; kCancelled: stopped.
Result<FetchedWeights> fetch_weights(const Connection& learner, int64_t weights_id,
                                     const std::string& known_tokenizer, std::stop_token stop);

}  // namespace fulcrum
