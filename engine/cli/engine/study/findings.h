// What a study has measured so far, durable: a first line with the study's own keys, then a line a checkpoint
// (results.jsonl). Called by the study runner. One thread.
#pragma once

#include <vector>

#include "engine/cli/engine/study/report.h"

namespace fulcrum::cli {

class Findings {
 public:
  // Reads what is there; a line that a kill cut short is measured again. kFailedPrecondition: the file is of
  // a study with other keys.
  static Result<Findings> open(const Path& file, const Json& study);

  bool has(uint64_t seed, const std::string& model, int64_t step) const;
  Status add(Finding finding);
  const std::vector<Finding>& all() const { return all_; }

 private:
  explicit Findings(Path file) : file_(std::move(file)) {}
  Path file_;
  std::vector<Finding> all_;
};

// The metrics of `step` in the run's metrics.jsonl, under their own names; none where the run has no such
// line.
Status add_run_metrics(const Path& run_folder, int64_t step, Values& values);

}  // namespace fulcrum::cli
