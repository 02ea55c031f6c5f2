// A job, built: every object the loops use, each made from its own part of the config. Only engine/pipeline
// sees it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/jobs/control.h"
#include "engine/learner/learner.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/pipeline/journal.h"
#include "engine/pipeline/rehearsal.h"
#include "engine/pipeline/run_job.h"
#include "engine/pipeline/run_state.h"
#include "engine/pipeline/weight_history.h"
#include "engine/reference/cached_reference.h"
#include "reward/pool.h"

namespace fulcrum {

struct BuiltJob {
  JobConfig config;
  JobControl& control;
  std::shared_ptr<const Tokenizer> tokenizer;
  Dataset train;
  std::optional<Dataset> validation;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Learner> learner;
  CachedReference* cached_reference = nullptr;  // the learner's, where precompute_ref_log_probs
  RolloutBackend backend;                       // empty for sft and dpo
  std::unique_ptr<RewardPool> rewards;          // null for sft and dpo
  std::optional<Rehearsal> rehearsal;           // dph_rl
  int64_t first_step = 0;                       // done before, by the checkpoint
  WeightHistory history;                        // of what was published, for stale generation
  std::optional<Metrics> unrecorded;  // of the learner's last step, until finish_step() records them
  std::string base;                   // hash of what the model was tuned from (engine/reference/ingredient.h)

  RunState state() { return {*learner, history, unrecorded, base}; }

  std::stop_token stop() const { return control.stop(); }
  PolicyVersion version(int64_t step) const { return {.epoch = journal->epoch(), .step = step}; }
  // Hands the learner's weights, as version `step`, to those who generate.
  Status publish(int64_t step);
  // Hands them the older versions that a checkpoint brought back.
  Status republish();
  // Requests that continue `prompts` in step `step`, all under the job's sampling keys.
  RolloutRequest request(const Prompt& prompt, int64_t step, int64_t index) const;
};

Result<std::unique_ptr<BuiltJob>> build_job(const JobConfig& config, const Path& run_folder,
                                            const Backends& backends, JobControl& control);

// How a job reads the rows it trains on.
DatasetOptions train_data(const JobConfig& config);

// Finishes a step that the learner has done, whose numbers are in `unrecorded`: evaluation when it is due,
// the step's one line of metrics, a checkpoint when it is due.
Status finish_step(BuiltJob& job, int64_t step);
// Finishes the step that a stop interrupted before the checkpoint this run goes on from, if one did.
Status finish_interrupted(BuiltJob& job);
// What pause and stop need before they act: a checkpoint of the last finished step.
Status save_point(BuiltJob& job, int64_t step);

Status presample(BuiltJob& job);   // dph_rl's stage before training; does nothing when it is complete
Status fit_target(BuiltJob& job);  // f_dpg's likewise
// precompute_ref_log_probs' stage before training: fills job.cached_reference from its file, or by a pass of
// the reference over the data.
Status precompute_reference(BuiltJob& job);
Status online_loop(BuiltJob& job);   // grpo, dph_rl, f_dpg
Status offline_loop(BuiltJob& job);  // sft, dpo

}  // namespace fulcrum
