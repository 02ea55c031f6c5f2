// The threads a handler may block on. gRPC's own threads never wait: a reaction hands its work to one of
// these and returns. Owned by a service; joined in the destructor, after the server was shut down.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace fulcrum {

class CallThreads {
 public:
  explicit CallThreads(size_t most) : most_(most) {}
  ~CallThreads();
  CallThreads(const CallThreads&) = delete;
  CallThreads& operator=(const CallThreads&) = delete;

  // Runs the task on a thread of its own. False, and nothing runs: all are busy. Thread-safe.
  bool run(std::function<void()> task);

 private:
  struct Worker {
    std::thread thread;
    std::atomic<bool> done = false;
  };
  const size_t most_;
  std::mutex mutex_;
  std::list<Worker> workers_;
};

}  // namespace fulcrum
