#include "engine/rpc/call_threads.h"

#include <system_error>

namespace fulcrum {

CallThreads::~CallThreads() {
  for (Worker& worker : workers_) worker.thread.join();
}

bool CallThreads::run(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  workers_.remove_if([](Worker& worker) {
    if (!worker.done) return false;
    worker.thread.join();
    return true;
  });
  if (workers_.size() >= most_) return false;
  Worker& worker = workers_.emplace_back();
  try {
    worker.thread = std::thread([&worker, task = std::move(task)] {
      task();
      worker.done = true;
    });
  } catch (const std::system_error&) {  // the process may have no more threads
    workers_.pop_back();
    return false;
  }
  return true;
}

}  // namespace fulcrum
