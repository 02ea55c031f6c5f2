// Seconds of the stages of a step, for timing_s/*. Not part of what a resume must reproduce. Not thread-safe.
#pragma once

#include "engine/core/clock.h"

namespace fulcrum {

class Stopwatch {
 public:
  // Seconds since the last lap, or since it was made.
  double lap() {
    const Instant now = system_clock().now();
    const double s = seconds(now - last_);
    last_ = now;
    return s;
  }

 private:
  Instant last_ = system_clock().now();
};

}  // namespace fulcrum
