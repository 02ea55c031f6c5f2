// Brings a published set of weights from the learner. Called by the worker's session. Blocks.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "engine/publish/weight_set.h"
#include "engine/rpc/client.h"
#include "engine/rpc/weight_image.h"

namespace fulcrum {

struct FetchedWeights {
  std::shared_ptr<const WeightSet> weights;
  TokenizerFiles tokenizer;  // without its files if its hash is `known_tokenizer`
};

// What a worker keeps of the bf16 weights it fetched last, so that the next version comes as what has
// changed.
using HeldWeights = std::optional<WeightAssembler>;

// A broken transfer goes on where it broke. Where the learner says how `held` became these weights, only that
// is fetched; if it does not fit, a line in the log says why and everything is. Afterwards `held` is these
// weights, or nothing if they are not bf16. kNotFound: the learner has moved on; kCancelled: stopped.
Result<FetchedWeights> fetch_weights(const Connection& learner, int64_t weights_id,
                                     const std::string& known_tokenizer, std::stop_token stop,
                                     HeldWeights& held);

}  // namespace fulcrum
