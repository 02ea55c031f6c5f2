// Runs the jobs of a store, one at a time, in the order they were submitted, on a thread of its own. It is
// handed the function that runs a job and knows nothing of models. A learner has one; the job service calls
// it for everything that changes a job. Thread-safe.
//
// What is acknowledged is durable: a cancelled job is cancelled in the store before cancel() returns,
// whatever the thread is still doing; it stops within the time its blocking calls need to see the stop token.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/core/status.h"
#include "engine/jobs/control.h"
#include "engine/jobs/store.h"

namespace fulcrum {

class JobRunner {
 public:
  // Runs a job from its last checkpoint to its end. Ok: succeeded. kResourceExhausted: paused, with the
  // reason (a full disk is no reason to lose a job). Any other error: failed, unless the job was cancelled or
  // the service stops.
  using Run = std::function<Status(const Job&, JobControl&)>;

  // Takes up what an earlier learner left (JobStore::recover) and begins. The store must outlive the runner.
  static Result<std::unique_ptr<JobRunner>> start(JobStore& store, Run run);
  ~JobRunner();
  JobRunner(const JobRunner&) = delete;
  JobRunner& operator=(const JobRunner&) = delete;

  Result<Job> submit(const NewJob& job);
  // A queued job is paused at once, a running one at its next step boundary, with a checkpoint.
  Result<Job> pause(const std::string& id);
  // A job paused by this learner goes on where it stands, another one is queued again.
  Result<Job> resume(const std::string& id);
  Result<Job> cancel(const std::string& id);
  // Only after its end. kFailedPrecondition also while its thread is still stopping.
  Status remove(const std::string& id);

  // Stops the running job so that the next start resumes it, and takes no other. Waits for the thread.
  void shutdown();

 private:
  class Control;
  enum class Wish { kNone, kPause, kCancel, kShutdown };

  JobRunner(JobStore& store, Run run) : store_(store), run_(std::move(run)) {}
  void loop();
  bool take(std::unique_lock<std::mutex>& lock);
  void finish(std::unique_lock<std::mutex>& lock, const std::string& id, const Status& outcome);
  Result<Job> move(const std::string& id, JobState next, const std::string& why,
                   EventLevel level = EventLevel::kInfo);
  bool holds(const std::string& id) const { return current_ && *current_ == id; }
  void wish(Wish wish);

  JobStore& store_;
  Run run_;

  std::mutex mutex_;                     // never taken by the store, which has its own
  std::condition_variable_any changed_;  // wishes and new work
  bool shutting_down_ = false;
  std::optional<std::string> current_;  // the job the thread works on
  Wish wish_ = Wish::kNone;             // what was asked of it last
  uint64_t wishes_ = 0;    // how many there were: a pause taken back and asked for again is a new one
  std::stop_source stop_;  // its stop token
  std::thread thread_;
};

}  // namespace fulcrum
