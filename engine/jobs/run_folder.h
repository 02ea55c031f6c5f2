// The run folder: RUN/{config.json, metrics.jsonl, events.jsonl, tensorboard/, completions/, checkpoints/},
// what a run leaves for people, scripts and TensorBoard. Called by the pipeline's journal, from `fulcrum run`
// and from a learner alike; the learner's store is for its own clients. One thread at a time; one process at
// a time (a lock).
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/jobs/event.h"
#include "engine/jobs/file_lock.h"
#include "engine/jobs/metrics_log.h"
#include "engine/jobs/tensorboard.h"

namespace fulcrum {

class RunFolder {
 public:
  // Makes what is missing. kFailedPrecondition if another process has it open (its pid is named).
  static Result<std::unique_ptr<RunFolder>> open(const Path& folder);

  const Path& path() const { return path_; }
  Path checkpoints() const { return path_ / "checkpoints"; }

  // config.json: the whole config, defaults included. read: nullopt before the first write.
  Status write_config(const Json& config);
  Result<std::optional<Json>> read_config() const;

  // Before the first step: the run goes on after `last_step` (the step of the checkpoint it was loaded from;
  // -1: it starts from the beginning). Metrics of later steps are set aside and compared as they are recorded
  // again.
  Status resume_after(int64_t last_step);

  // One line in metrics.jsonl and one point a number in TensorBoard; where a step that is done again differs
  // from what it was, a warning in events.jsonl names step and field. kFailedPrecondition
  // before resume_after() or for a step that is recorded already. Returns how many fields differ.
  Result<int64_t> metrics(int64_t step, const Json& metrics);

  // Appends to events.jsonl; number and time are filled in.
  Status event(EventLevel level, std::string_view type, std::string_view message, Json data = nullptr);

  // completions/step_<n>.jsonl, whole; a step done again replaces its file.
  Status completions(int64_t step, std::span<const Json> rows);

  // Makes metrics and events durable; call it before a checkpoint is published.
  Status sync();

 private:
  RunFolder(Path path, FileLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  Status find_last_event();

  Path path_;
  FileLock lock_;
  int64_t last_event_ = 0;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardLog> tensorboard_;
};

}  // namespace fulcrum
