// How much work one judgement may do: a number of steps, a deadline and a stop request, in one object that is
// handed down to everything that loops over untrusted input. Once it is spent it stays spent, so the work
// that follows ends quickly by itself and the caller looks once, at the end. One judgement, one thread.
#pragma once

#include <cstdint>
#include <stop_token>
#include <utility>

#include "engine/core/clock.h"

namespace fulcrum {

class Budget {
 public:
  Budget(int64_t steps, Deadline deadline, std::stop_token stop)
      : steps_(steps), deadline_(deadline), stop_(std::move(stop)) {
    look();
  }

  // Takes `n` steps; false when there are none left, time is up or the caller asked to stop.
  bool spend(int64_t n = 1) {
    if (exhausted()) return false;
    steps_ -= n;
    if ((since_look_ += n) >= kLookEvery) look();
    return !exhausted();
  }
  bool exhausted() const { return steps_ <= 0; }

 private:
  static constexpr int64_t kLookEvery = 512;  // reading the clock costs more than a step

  void look() {
    since_look_ = 0;
    if (stop_.stop_requested() || deadline_.passed()) steps_ = 0;
  }

  int64_t steps_;
  int64_t since_look_ = 0;
  Deadline deadline_;
  std::stop_token stop_;
};

}  // namespace fulcrum
