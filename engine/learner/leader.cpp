#include "engine/learner/leader.h"

#include "engine/learner/agreement.h"

namespace fulcrum {
namespace {

constexpr const char* kPurpose = "the next command";

}  // namespace

Leader::Leader(std::shared_ptr<Collective> group, std::chrono::milliseconds idle_every)
    : group_(std::move(group)),
      keeper_([this, idle_every](const std::stop_token& stop) { keep_in_touch(stop, idle_every); }) {}

Leader::~Leader() { end(exit_code(Code::kInternal)); }

void Leader::end(int exit_code) {
  keeper_.request_stop();
  if (keeper_.joinable()) keeper_.join();
  const std::unique_lock lock(mutex_);
  if (std::exchange(ended_, true)) return;
  // Whoever does not hear it sees that this process has ended.
  static_cast<void>(say({{"do", command::kEnd}, {"code", exit_code}}));
}

void Leader::on_trouble(std::function<void(const Status& why)> hear) {
  const std::lock_guard lock(hear_mutex_);
  hear_ = std::move(hear);
}

Status Leader::tell(Status why) {
  const std::lock_guard lock(hear_mutex_);
  if (!why.ok() && trouble_.ok()) trouble_ = why;
  if (!why.ok() && hear_) hear_(why);
  return why;
}

Status Leader::trouble() const {
  const std::lock_guard lock(hear_mutex_);
  return trouble_;
}

Status Leader::say(const Json& message) {
  return to_status(broadcast_text(*group_, message_bytes(message), kPurpose));
}

void Leader::keep_in_touch(const std::stop_token& stop, std::chrono::milliseconds every) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    changed_.wait_for(lock, stop, every, [] { return false; });
    if (stop.stop_requested()) return;
    if (!tell(say({{"do", command::kIdle}})).ok()) return;
  }
}

Result<Json> hear_command(Collective& group) {
  TRY(bytes, broadcast_text(group, {}, kPurpose));
  return read_message(bytes);
}

}  // namespace fulcrum
