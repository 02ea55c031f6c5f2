// A function with a stack of its own that can stop in its middle and go on later: a thread of the emulated
// device (cuda_on_host.h). Not thread-safe: entered by the host thread that made it.
#pragma once

#include <cstddef>

namespace fulcrum::cuda_on_host {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Sets it to the beginning of run(argument). One that stopped in its middle is forgotten: what stands on
  // its stack is not destroyed.
  void start(void (*run)(void*), void* argument);
  // Runs it until it leaves or returns. Not after it returned.
  void enter();
  // From inside: back to whoever entered.
  void leave();

 private:
  static void first();
  void run_and_return();

  char* memory_;  // a page that faults, then the stack
  void (*run_)(void*) = nullptr;
  void* argument_ = nullptr;
  void* own_stack_ = nullptr;  // the stack pointers of who is not running
  void* callers_stack_ = nullptr;
  // AddressSanitizer's.
  void* own_fake_ = nullptr;
  void* callers_fake_ = nullptr;
  const void* callers_bottom_ = nullptr;
  size_t callers_size_ = 0;
};

}  // namespace fulcrum::cuda_on_host
