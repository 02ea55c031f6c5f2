#include "engine/core/cores.h"
#include "engine/pipeline/run_job.h"
#include "policy/nn/device.h"
#include "rollout/generation_device.h"
#include "rollout/local_rollout.h"

namespace fulcrum {
namespace {

// Learner and generator take turns on one GPU: what the learner's allocator keeps in reserve is given back
// before the new weights are put there and before completions are generated, or it would be missing for them
// and for keys and values.
class MakesRoom final : public RolloutClient, public WeightPublisher {
 public:
  explicit MakesRoom(std::shared_ptr<LocalRollout> rollouts) : rollouts_(std::move(rollouts)) {}

  Status publish(std::shared_ptr<const WeightSet> weights) override {
    give_back_reserve();
    return rollouts_->publish(std::move(weights));
  }

  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop) override {
    give_back_reserve();
    return rollouts_->generate(requests, version, std::move(stop));
  }

 private:
  std::shared_ptr<LocalRollout> rollouts_;
};

}  // namespace

Result<RolloutBackend> local_rollouts(const JobConfig& config, const ModelSpec&,
                                      std::shared_ptr<const Tokenizer> tokenizer) {
  TRY(device, generation_device(config.sampling.rollout_device));
  TRY(learner, open_device(config.learner.device));
  // With staleness the next steps are generated while this one trains.
  const int64_t taken = config.max_staleness > 0 ? config.learner.threads : 0;
  const GeneratorOptions options{
      .max_batch = config.sampling.rollout_max_batch,
      .threads = within_cores(config.sampling.rollout_threads, "'rollout_threads'", taken),
      .device = device};
  auto local = std::make_shared<LocalRollout>(std::move(tokenizer), options, config.max_staleness + 1,
                                              decode_dtype(config.sampling.rollout_dtype));
  const bool on_device = device.kernels != nullptr;
  if (!on_device || learner.is_cpu())
    return RolloutBackend{.rollouts = local, .publisher = local, .on_device = on_device};
  auto with_room = std::make_shared<MakesRoom>(local);
  // With staleness the learner works while completions are generated, and wants its reserve itself.
  const std::shared_ptr<RolloutClient> rollouts =
      config.max_staleness > 0 ? std::shared_ptr<RolloutClient>(local) : with_room;
  return RolloutBackend{.rollouts = rollouts, .publisher = with_room, .on_device = true};
}

}  // namespace fulcrum
