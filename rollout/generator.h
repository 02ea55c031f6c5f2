// Generates completions on this machine's cores. A completion depends on its request and the weights alone:
// not on max_batch, not on threads, not on the other requests. Called as completion_generator.h says.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/core/status.h"
#include "policy/decode/decode_model.h"
#include "policy/decode/decoder.h"
#include "policy/decode/workers.h"
#include "policy/text/tokenizer.h"
#include "rollout/completion_generator.h"
#include "rollout/sampler.h"

namespace fulcrum {

class Generator final : public CompletionGenerator {
 public:
  Generator(std::shared_ptr<const DecodeModel> model, std::shared_ptr<const Tokenizer> tokenizer,
            const GeneratorOptions& options);

  // A stop request is looked for at every layer of every step.
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop, const GenerateCalls& calls = {}) override;

 private:
  class Batch;  // one call of generate

  std::shared_ptr<const DecodeModel> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  GeneratorOptions options_;
  Workers workers_;
  Decoder decoder_;
  std::vector<Sampler> samplers_;  // one for each worker
};

}  // namespace fulcrum
