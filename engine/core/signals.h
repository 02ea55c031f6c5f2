// SIGINT and SIGTERM as a stop request. Make one at the start of main, before any thread: the signals are
// blocked in this thread and all it starts, and one thread waits for them, so no handler ever runs in the
// middle of other code.
#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

namespace fulcrum {

class SignalStop {
 public:
  SignalStop();
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  // Stops at the first signal. The second one ends the process at once with 130.
  std::stop_token token() const { return source_.get_token(); }
  bool raised() const { return source_.stop_requested(); }

 private:
  std::stop_source source_;
  std::atomic<bool> done_ = false;
  std::thread waiter_;
};

}  // namespace fulcrum
