// What a running job sees of the world that runs it: the same interface under a learner (JobRunner) and under
// `fulcrum run` (LocalJobControl). The pipeline calls it from its loop; it must be thread-safe, since
// generation and training may run side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string_view>

#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/jobs/event.h"
#include "engine/jobs/state.h"

namespace fulcrum {

class JobControl {
 public:
  virtual ~JobControl() = default;

  // The boundary between two steps. If a pause or the end of the service was asked for, calls `save` (write a
  // checkpoint), so that nothing done so far is lost. Blocks while the job is paused. Not ok: leave the loop
  // with this Status: kCancelled after a cancel, kUnavailable when the service stops (the job will be
  // resumed), or what `save` said.
  virtual Status point(const std::function<Status()>& save) = 0;

  // Fires on cancel and when the service stops; every blocking call takes it.
  virtual std::stop_token stop() const = 0;
  // Ok while the job may go on; then kCancelled or kUnavailable, as above. After kUnavailable a loop that was
  // interrupted in the middle of a step may still save what it had at the last boundary.
  virtual Status stop_reason() const = 0;

  // Where the job stands. The first call says that model, data and checkpoint are read: the job runs.
  virtual Status progress(int64_t step, int64_t max_steps) = 0;
  // The numbers of a step, once each step; a step that is done again after a resume is compared with what it
  // was.
  virtual Status metrics(int64_t step, const Json& metrics) = 0;
  virtual Status event(EventLevel level, std::string_view type, std::string_view message,
                       Json data = nullptr) = 0;
  // kWaitingRollout or kWaitingReward while nobody generates or judges, kRunning when they do again.
  virtual Status set_waiting(JobState state) = 0;
};

// `fulcrum run`: no store, no pause; a signal stops it. What it is told goes to the hooks, which may be
// empty.
struct LocalHooks {
  std::function<void(int64_t step, int64_t max_steps)> progress;
  std::function<void(int64_t step, const Json& metrics)> metrics;
  std::function<void(const Event& event)> event;
};

class LocalJobControl final : public JobControl {
 public:
  explicit LocalJobControl(LocalHooks hooks = {}) : hooks_(std::move(hooks)) {}

  // From the thread that waits for signals: unavailable("interrupted") leaves the run resumable.
  void request_stop(Status reason);

  Status point(const std::function<Status()>& save) override;
  std::stop_token stop() const override { return stop_.get_token(); }
  Status stop_reason() const override;
  Status progress(int64_t step, int64_t max_steps) override;
  Status metrics(int64_t step, const Json& metrics) override;
  Status event(EventLevel level, std::string_view type, std::string_view message, Json data) override;
  Status set_waiting(JobState state) override;

 private:
  LocalHooks hooks_;
  mutable std::mutex mutex_;
  Status reason_;
  std::stop_source stop_;
};

}  // namespace fulcrum
