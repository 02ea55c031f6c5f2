// What a worker draws with: one version of the weights, ready to generate. The worker makes one of every set
// of weights it fetches; tests hand in their own. One call of generate() at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stop_token>

#include "engine/core/status.h"
#include "engine/publish/weight_set.h"
#include "engine/rpc/weight_image.h"
#include "engine/types/rollout.h"
#include "rollout/completion_generator.h"

namespace fulcrum {

class WorkerModel {
 public:
  using OnGroup = std::function<void(size_t request, const RolloutGroup& group)>;
  virtual ~WorkerModel() = default;
  // Hands over every group as soon as it is whole. kCancelled when stopped.
  virtual Status generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                          std::stop_token stop, const OnGroup& on_group) = 0;
};

// Makes a model of what was fetched. `tokenizer.files` is empty when the hash is that of the call before.
using WorkerModelFactory = std::function<Result<std::shared_ptr<WorkerModel>>(
    std::shared_ptr<const WeightSet> weights, const TokenizerFiles& tokenizer)>;

// The real one: rollout/make_generator.h over policy/decode. The tokenizer's files live in a private
// temporary folder while they are read.
WorkerModelFactory generator_models(GeneratorOptions options);

}  // namespace fulcrum
