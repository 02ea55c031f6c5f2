// The learner of a job, as its config says; on several ranks the same one on each. Called by build_job on
// rank 0 and by follow() on the others. One thread.
#pragma once

#include <memory>

#include "engine/learner/learner.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/reference/cached_reference.h"

namespace fulcrum {

struct JobLearner {
  std::unique_ptr<Learner> learner;
  CachedReference* cached_reference = nullptr;  // the learner's, where precompute_ref_log_probs
};

// Of the model's files at `config`'s path, which are `model`. `group`: the ranks that make it at the same
// time (null: alone); a fault of one is a fault of all, and so are models that differ.
Result<JobLearner> make_job_learner(const JobConfig& config, const Model& model,
                                    const std::shared_ptr<Collective>& group);

}  // namespace fulcrum
