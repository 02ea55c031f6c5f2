// Generates completions on an accelerator: DeviceDecoder draws several tokens for every sequence, then the
// host takes them in, ends what a stop text ends, and fills the places that are free. With
// DeviceOptions::fixed_order a completion depends on its request and the weights alone, as on the CPU, and in
// fp32 it has the CPU's tokens except where rounding decides a draw. Called as completion_generator.h says.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/core/status.h"
#include "policy/decode/device/device_model.h"
#include "policy/decode/device/options.h"
#include "policy/text/tokenizer.h"
#include "rollout/completion_generator.h"

namespace fulcrum {

class DeviceGenerator final : public CompletionGenerator {
 public:
  DeviceGenerator(std::shared_ptr<const DeviceModel> model, std::shared_ptr<const Tokenizer> tokenizer,
                  const GeneratorOptions& options);

  // A stop request is looked for between launches and while prompts run. Memory for keys and values is taken
  // for this call: what its longest sequences need, or what is there; a sequence starts when all its pages
  // are free, so none has to give up.
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop, const GenerateCalls& calls = {}) override;

 private:
  class Batch;  // one call of generate

  std::shared_ptr<const DeviceModel> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  GeneratorOptions options_;
};

}  // namespace fulcrum
