// Time, injected: leases, deadlines and rates read a Clock, so that tests turn it by hand.
#pragma once

#include <chrono>
#include <mutex>

namespace fulcrum {

using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;  // monotonic
};

class SystemClock final : public Clock {
 public:
  Instant now() const override { return std::chrono::steady_clock::now(); }
};

// A clock that stands still until a test moves it. Thread-safe.
class FakeClock final : public Clock {
 public:
  Instant now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void advance(Duration d) {
    const std::lock_guard lock(mutex_);
    now_ += d;
  }

 private:
  mutable std::mutex mutex_;
  Instant now_{};
};

inline const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

// A point in time by which something must be done, or never.
struct Deadline {
  Instant at = Instant::max();
  static Deadline never() { return {}; }
  static Deadline in(Duration d, const Clock& clock = system_clock()) { return {clock.now() + d}; }
  bool passed(const Clock& clock = system_clock()) const { return at != Instant::max() && clock.now() >= at; }
};

inline double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace fulcrum
