// What a run leaves behind: metrics, events, completions and checkpoints in its run folder, and the way back
// from the last checkpoint. Called by the loops, step by step. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/jobs/checkpoint.h"
#include "engine/jobs/control.h"
#include "engine/jobs/run_folder.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/pipeline/run_state.h"
#include "engine/types/verdict.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {

class Journal {
 public:
  // Opens (or makes) the run folder and writes config.json. kFailedPrecondition: it belongs to a job with
  // another fingerprint, or another process has it open.
  static Result<std::unique_ptr<Journal>> open(const Path& run_folder, const JobConfig& config,
                                               JobControl& control);

  // Loads the last whole checkpoint into the state, if there is one and the config says so; returns the step
  // to go on from (0: a fresh start). Damaged checkpoints are passed over with a warning.
  Result<int64_t> resume(const RunState& state);

  // The metrics of a finished step (counted from 1): metrics.jsonl, TensorBoard, watchers.
  Status record(int64_t step, const Metrics& metrics);
  Status completions(int64_t step, std::span<const RolloutGroup> groups,
                     const std::vector<std::vector<Verdict>>& verdicts);

  // A line in events.jsonl; those who watch are told by JobWarnings.
  Status warning(std::string_view message);

  // Whether the metrics of `step` are better than those of the best checkpoint so far: worth one of its own.
  Result<bool> is_best(int64_t step, const Metrics& metrics) const;
  // Whether a checkpoint is due after `step`.
  bool due(int64_t step) const;
  // Writes checkpoint-<step>, unless it is there already: a folder that transformers loads, plus the run's
  // state. `metrics` decide whether it is the best one. kResourceExhausted: the disk is full; the checkpoints
  // before it stay.
  Status checkpoint(int64_t step, const RunState& state, const Tokenizer& tokenizer, const Metrics& metrics);

  const Path& folder() const { return folder_->path(); }
  // How often a process has begun to work on this run: the epoch of its weight versions.
  int64_t epoch() const { return epoch_; }

 private:
  Journal(std::unique_ptr<RunFolder> folder, CheckpointStore store, JobConfig config, JobControl& control)
      : folder_(std::move(folder)), store_(std::move(store)), config_(std::move(config)), control_(control) {}
  Status begin_epoch();
  Status write_checkpoint(int64_t step, const RunState& state, const Tokenizer& tokenizer);

  std::unique_ptr<RunFolder> folder_;
  CheckpointStore store_;
  JobConfig config_;
  JobControl& control_;
  int64_t epoch_ = 0;
  int64_t last_checkpoint_ = -1;
};

}  // namespace fulcrum
