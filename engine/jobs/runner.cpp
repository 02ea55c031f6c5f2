#include "engine/jobs/runner.h"

#include <chrono>
#include <exception>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

// How long the thread waits before it tries again what the store could not do (a full disk).
constexpr std::chrono::seconds kRetry{1};

// The seam behind which nothing may throw: a job's exception fails the job, not the learner.
Status guarded(const JobRunner::Run& run, const Job& job, JobControl& control) {
  try {
    return run(job, control);
  } catch (const std::exception& e) {
    return internal_error("the job threw an exception: " + printable(e.what()));
  }
}

}  // namespace

// What the running job sees. Its methods take the runner's mutex, so that a wish and the move it leads to
// cannot be torn apart by another call.
class JobRunner::Control final : public JobControl {
 public:
  Control(JobRunner& runner, const Job& job, std::stop_token stop)
      : runner_(runner), id_(job.id), epoch_(job.epoch), stop_(std::move(stop)) {}

  Status point(const std::function<Status()>& save) override {
    std::unique_lock lock(runner_.mutex_);
    bool saved = false;
    while (runner_.wish_ == Wish::kPause || runner_.wish_ == Wish::kShutdown) {
      if (!saved) {  // takes its time; the wish may be another one afterwards
        lock.unlock();
        TRY_DO(save());
        lock.lock();
        saved = true;
      } else if (runner_.wish_ == Wish::kPause) {
        TRY_DO(runner_.move(id_, JobState::kPaused, "asked to pause"));
        runner_.changed_.wait(lock, [&, seen = runner_.wishes_] { return runner_.wishes_ != seen; });
      } else {
        break;
      }
    }
    return reason_of(runner_.wish_);
  }

  std::stop_token stop() const override { return stop_; }

  Status stop_reason() const override {
    const std::lock_guard lock(runner_.mutex_);
    return reason_of(runner_.wish_);
  }

  Status progress(int64_t step, int64_t max_steps) override {
    {
      const std::lock_guard lock(runner_.mutex_);
      TRY(job, runner_.store_.get(id_));
      if (job.state == JobState::kValidatingFiles) TRY_DO(runner_.move(id_, JobState::kRunning, ""));
    }
    return runner_.store_.progress(id_, epoch_, step, max_steps);
  }

  Status metrics(int64_t step, const Json& metrics) override {
    return to_status(runner_.store_.record_metrics(id_, epoch_, step, metrics));
  }

  Status event(EventLevel level, std::string_view type, std::string_view message, Json data) override {
    const Event event{0, 0, level, std::string(type), std::string(message), std::move(data)};
    return to_status(runner_.store_.append_event(id_, event));
  }

  Status set_waiting(JobState state) override {
    const std::lock_guard lock(runner_.mutex_);
    TRY(job, runner_.store_.get(id_));
    // A pause that was asked for is what people want to see; a job that has ended is moved no more.
    if (job.state == JobState::kPausing || job.state == state || is_terminal(job.state)) return ok_status();
    return to_status(runner_.move(id_, state, ""));
  }

 private:
  static Status reason_of(Wish wish) {
    switch (wish) {
      case Wish::kCancel:
        return cancelled("the job was cancelled");
      case Wish::kShutdown:
        return unavailable("the learner is stopping; the job goes on when it starts again");
      default:
        return ok_status();
    }
  }

  JobRunner& runner_;
  const std::string id_;
  const int64_t epoch_;
  const std::stop_token stop_;
};

Result<std::unique_ptr<JobRunner>> JobRunner::start(JobStore& store, Run run) {
  TRY_DO(store.recover());
  std::unique_ptr<JobRunner> runner(new JobRunner(store, std::move(run)));
  runner->thread_ = std::thread([r = runner.get()] { r->loop(); });
  return runner;
}

JobRunner::~JobRunner() { shutdown(); }

void JobRunner::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    shutting_down_ = true;
    if (current_ && wish_ != Wish::kCancel) wish(Wish::kShutdown);
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void JobRunner::wish(Wish wish) {
  wish_ = wish;
  ++wishes_;
  if (wish == Wish::kCancel || wish == Wish::kShutdown) stop_.request_stop();
  changed_.notify_all();
}

void JobRunner::loop() {
  std::unique_lock lock(mutex_);
  while (!shutting_down_) {
    if (take(lock)) continue;
    // Every call that queues a job notifies under the same mutex; the time is for a store that could not be
    // read.
    changed_.wait_for(lock, kRetry);
  }
}

// Runs the next queued job to its end; false if there is none or the store cannot say.
bool JobRunner::take(std::unique_lock<std::mutex>& lock) {
  const Result<std::optional<Job>> next = store_.next_queued();
  if (next.ok() && !next->has_value()) return false;
  const Result<Job> job = next.ok() ? move((*next)->id, JobState::kValidatingFiles, "") : next.status();
  if (!job.ok()) {
    log_error("no job can be taken up: " + job.status().message());
    return false;
  }
  current_ = job->id;
  wish_ = Wish::kNone;
  stop_ = std::stop_source();
  Control control(*this, *job, stop_.get_token());
  lock.unlock();
  const Status outcome = guarded(run_, *job, control);
  lock.lock();
  finish(lock, job->id, outcome);
  current_.reset();
  return true;
}

void JobRunner::finish(std::unique_lock<std::mutex>& lock, const std::string& id, const Status& outcome) {
  while (true) {
    const Result<Job> job = store_.get(id);
    Status status = job.status();
    if (status.ok()) {
      JobState next = JobState::kFailed;
      if (outcome.ok()) next = JobState::kSucceeded;
      if (!outcome.ok() && outcome.code() == Code::kResourceExhausted) next = JobState::kPaused;
      if (!outcome.ok() && wish_ == Wish::kShutdown) next = after_restart(job->state);
      if (is_terminal(job->state) || job->state == next)
        return;  // cancelled, or paused when the service stops
      const bool stopped = wish_ == Wish::kShutdown;
      // Nobody asked for a pause by a dead judge or a full disk, and somebody must mend it.
      const EventLevel level = next == JobState::kPaused && !stopped ? EventLevel::kWarn : EventLevel::kInfo;
      status = to_status(move(id, next, stopped ? "the learner was stopped" : outcome.message(), level));
    }
    if (status.ok()) return;
    log_error("the end of " + id + " cannot be recorded: " + status.message());
    if (shutting_down_) return;  // recover() finds it active
    changed_.wait_for(lock, kRetry);
  }
}

Result<Job> JobRunner::move(const std::string& id, JobState next, const std::string& why, EventLevel level) {
  TRY(job, store_.get(id));
  return store_.move(id, job.revision, next, why, level);
}

Result<Job> JobRunner::submit(const NewJob& job) {
  const std::lock_guard lock(mutex_);
  if (shutting_down_) return unavailable("the learner is stopping and takes no jobs");
  Result<Job> created = store_.create(job);
  changed_.notify_all();
  return created;
}

Result<Job> JobRunner::pause(const std::string& id) {
  const std::lock_guard lock(mutex_);
  TRY(job, store_.get(id));
  if (job.state == JobState::kPaused || job.state == JobState::kPausing) return job;
  if (!is_active(job.state)) return move(id, JobState::kPaused, "asked to pause");
  TRY(pausing, move(id, JobState::kPausing, ""));
  if (holds(id)) wish(Wish::kPause);
  return pausing;
}

Result<Job> JobRunner::resume(const std::string& id) {
  const std::lock_guard lock(mutex_);
  TRY(job, store_.get(id));
  if (job.state == JobState::kQueued || (is_active(job.state) && job.state != JobState::kPausing)) return job;
  const bool goes_on = holds(id) && wish_ == Wish::kPause;
  TRY(resumed, move(id, goes_on ? JobState::kRunning : JobState::kQueued, "resumed"));
  if (goes_on) wish(Wish::kNone);
  changed_.notify_all();
  return resumed;
}

Result<Job> JobRunner::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  TRY(job, store_.get(id));
  if (job.state == JobState::kCancelled) return job;
  TRY(ended, move(id, JobState::kCancelled, "asked to cancel"));
  if (holds(id)) wish(Wish::kCancel);
  return ended;
}

Status JobRunner::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (holds(id))
    return failed_precondition(id + " is still running or stopping; try again when it has ended");
  return store_.remove(id);
}

}  // namespace fulcrum
