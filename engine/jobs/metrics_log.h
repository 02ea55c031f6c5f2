// metrics.jsonl: one line of numbers a step, each step once. A resumed run does the steps after its
// checkpoint again; in the deterministic mode it must arrive at the same bits, so their old lines are set
// aside and compared. Recovery checks itself. Called by RunFolder; the store compares its rows by the same
// rule. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

// A number that came out otherwise when its step was done again. The values are JSON texts, "absent" if there
// is none.
struct MetricDifference {
  int64_t step = 0;
  std::string field;
  std::string before;
  std::string after;
};

// "step 12: 'loss' was 0.25 and is now 0.5: ...", one line.
std::string describe(const MetricDifference& difference);

// Every field that differs in any bit, except timing_s/* and perf/*, which measure the machine.
std::vector<MetricDifference> compare_metrics(int64_t step, const Json& before, const Json& after);

class MetricsLog {
 public:
  // Keeps the lines of steps <= last_step; later ones move to <file>.redo, to be compared. Both files are
  // replaced whole, the copy first, so a kill at any point loses no line. Torn or foreign lines are left out
  // and counted.
  static Result<MetricsLog> open(const Path& file, int64_t last_step);

  // Appends {"step": step, ...metrics}. kFailedPrecondition if the step is not after the last one. Returns
  // how it differs from the line of the same step before the resume.
  Result<std::vector<MetricDifference>> append(int64_t step, const Json& metrics);

  // Makes what was appended durable: before the checkpoint that counts on it.
  Status sync();

  int64_t last_step() const { return last_step_; }  // -1: empty
  int64_t lines_left_out() const { return lines_left_out_; }

 private:
  explicit MetricsLog(Path file) : file_(std::move(file)) {}

  Path file_;
  int64_t last_step_ = -1;
  int64_t lines_left_out_ = 0;
  std::map<int64_t, Json> redo_;  // old lines of steps that are being done again
};

}  // namespace fulcrum
