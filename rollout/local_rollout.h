// Rollouts in this process: takes the learner's weights and generates with them. The backend of `fulcrum
// run`. publish() and generate() may be called from different threads; one generate() at a time.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/publish/publisher.h"
#include "policy/text/tokenizer.h"
#include "rollout/make_generator.h"
#include "rollout/rollout.h"

namespace fulcrum {

class LocalRollout final : public RolloutClient, public WeightPublisher {
 public:
  // Keeps the last `kept_versions` published versions: max_staleness + 1, at least 1. `dtype`: that of
  // DecodeModel. With options.device.kernels an accelerator generates, and holds the versions; where it keeps
  // one, the old one goes before the new one comes, and a publish() that fails leaves none.
  LocalRollout(std::shared_ptr<const Tokenizer> tokenizer, const GeneratorOptions& options,
               int64_t kept_versions = 2, DType dtype = DType::kF32);

  Status publish(std::shared_ptr<const WeightSet> weights) override;
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop) override;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  GeneratorOptions options_;
  size_t kept_versions_;
  DType dtype_;
  std::mutex mutex_;
  std::deque<std::pair<PolicyVersion, GeneratingModel>> models_;  // oldest first
};

}  // namespace fulcrum
