#include "engine/jobs/control.h"

#include <string>
#include <utility>

namespace fulcrum {

void LocalJobControl::request_stop(Status reason) {
  {
    const std::lock_guard lock(mutex_);
    if (!reason_.ok()) return;  // the first reason stands
    reason_ = std::move(reason);
  }
  stop_.request_stop();
}

Status LocalJobControl::stop_reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

Status LocalJobControl::point(const std::function<Status()>& save) {
  const Status reason = stop_reason();
  if (reason.code() == Code::kUnavailable) TRY_DO(save());
  return reason;
}

Status LocalJobControl::progress(int64_t step, int64_t max_steps) {
  if (hooks_.progress) hooks_.progress(step, max_steps);
  return ok_status();
}

Status LocalJobControl::metrics(int64_t step, const Json& metrics) {
  if (hooks_.metrics) hooks_.metrics(step, metrics);
  return ok_status();
}

Status LocalJobControl::event(EventLevel level, std::string_view type, std::string_view message, Json data) {
  if (hooks_.event)
    hooks_.event({0, unix_seconds(), level, std::string(type), std::string(message), std::move(data)});
  return ok_status();
}

Status LocalJobControl::set_waiting(JobState) { return ok_status(); }

}  // namespace fulcrum
