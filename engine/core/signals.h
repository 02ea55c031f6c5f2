// SIGINT, SIGTERM, SIGQUIT and SIGHUP as a stop request; other signals that would end a process and mean
// nothing here are ignored. Make one at the start of main, before any thread: the signals are blocked in this
// thread and all it starts, and one thread waits for them, so no handler ever runs in the middle of other
// code.
#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

#include "engine/core/clock.h"

namespace fulcrum {

class SignalStop {
 public:
  explicit SignalStop(const Clock& clock = system_clock());
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  // Stops at the first signal. One that comes kOneWish later ends the process at once with 130; until then it
  // is the same wish, sent twice: `timeout` and job schedulers signal a process and then its group.
  static constexpr Duration kOneWish = std::chrono::milliseconds(500);
  std::stop_token token() const { return source_.get_token(); }
  bool raised() const { return source_.stop_requested(); }

 private:
  const Clock& clock_;
  std::stop_source source_;
  std::atomic<bool> done_ = false;
  std::thread waiter_;
};

}  // namespace fulcrum
