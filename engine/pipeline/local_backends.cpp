#include "engine/core/cores.h"
#include "engine/pipeline/run_job.h"
#include "rollout/local_rollout.h"

namespace fulcrum {

Result<RolloutBackend> local_rollouts(const JobConfig& config, const ModelSpec&,
                                      std::shared_ptr<const Tokenizer> tokenizer) {
  // With staleness the next steps are generated while this one trains.
  const int64_t taken = config.max_staleness > 0 ? config.learner.threads : 0;
  const GeneratorOptions options{
      .max_batch = config.sampling.rollout_max_batch,
      .threads = within_cores(config.sampling.rollout_threads, "'rollout_threads'", taken)};
  auto local = std::make_shared<LocalRollout>(std::move(tokenizer), options, config.max_staleness + 1,
                                              decode_dtype(config.sampling.rollout_dtype));
  return RolloutBackend{.rollouts = local, .publisher = local};
}

}  // namespace fulcrum
