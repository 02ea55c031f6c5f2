// Runs one job from its config to its last checkpoint: the wiring. Called by `fulcrum run`, by a learner for
// each job it takes, and by the demo; they differ only in the backends they hand in. One thread; blocks until
// the job ends.
#pragma once

#include <functional>
#include <memory>

#include "engine/jobs/control.h"
#include "engine/learner/leader.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/publish/publisher.h"
#include "policy/text/tokenizer.h"
#include "reward/make_rewards.h"
#include "rollout/rollout.h"

namespace fulcrum {

// Who generates for a job. Often one object behind both pointers.
struct RolloutBackend {
  std::shared_ptr<RolloutClient> rollouts;
  std::shared_ptr<WeightPublisher> publisher;
  bool on_device = false;  // a GPU of this process generates
};

// What a job is handed: in one process or over gRPC, the job does not know.
struct Backends {
  std::function<Result<RolloutBackend>(const JobConfig&, const ModelSpec&, std::shared_ptr<const Tokenizer>)>
      rollouts;
  JudgeFactory reward_service;
  // Of the ranks that train together; null: this process trains alone.
  std::shared_ptr<Leader> leader;
};

// Generation in this process.
Result<RolloutBackend> local_rollouts(const JobConfig& config, const ModelSpec& spec,
                                      std::shared_ptr<const Tokenizer> tokenizer);

// ok: all steps are done and the last checkpoint is written. The control's stop_reason(): it was stopped; a
// checkpoint of the last finished step was written before, so the job can go on. Anything else: the job
// failed, in words.
Status run_job(const JobConfig& config, const Path& run_folder, const Backends& backends,
               JobControl& control);

// The folder of the last checkpoint of a finished run.
Path final_checkpoint(const Path& run_folder, const JobConfig& config);

}  // namespace fulcrum
