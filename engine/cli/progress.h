// Progress of a job: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.
// One thread at a time; writes to stderr only.
#pragma once

#include <string>

#include "engine/core/clock.h"
#include "engine/core/metrics.h"

namespace fulcrum::cli {

class Progress {
 public:
  // `label` stands before the bar; `terminal` says whether a bar can be drawn.
  Progress(std::string label, bool terminal, const Clock& clock = system_clock());
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` steps; `note` is a few words of metrics ("loss 0.31 reward 0.72"), already printable.
  void update(int64_t done, int64_t total, const std::string& note);
  // Ends the line.
  void finish();

  // The text of one update, without escape codes. For tests and for the plain form.
  static std::string line(const std::string& label, int64_t done, int64_t total, double seconds,
                          int64_t first, const std::string& note);

 private:
  std::string label_;
  bool terminal_;
  const Clock& clock_;
  Instant begin_;
  Instant last_{};
  int64_t first_ = -1;  // steps done when we began: a resumed run's rate counts only its own
  bool open_ = false;
};

// Whether stderr is a terminal that understands a carriage return.
bool stderr_is_terminal();

// The few metrics people watch, in a fixed order: "loss 0.312  reward 0.72".
std::string metrics_note(const Metrics& metrics);

}  // namespace fulcrum::cli
