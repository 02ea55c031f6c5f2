#include "engine/collective/device_sums.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <future>
#include <thread>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

using Clock = std::chrono::steady_clock;
using End = GroupOutcome::End;
using kernels::GroupState;
using kernels::GroupText;
using std::chrono::microseconds;

// Between two questions: at first little, since most sums take less than a millisecond.
constexpr microseconds kFirstPause{20}, kLongestPause{1000};
// How long the end of what runs is waited for.
constexpr std::chrono::seconds kAbortPatience{5};

GroupOutcome outcome_of(GroupState state, const GroupText& why) {
  if (state == GroupState::kDone) return {};
  return {state == GroupState::kPeerFailed ? End::kPeer : End::kMine, why.text, /*quoted=*/true};
}

void* stream_of(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

}  // namespace

DeviceSums::~DeviceSums() {
  if (joined_) {
    const c10::DeviceGuard guard(*device_);
    table_->leave(member_);
  } else {
    abort();
  }
}

bool DeviceSums::ready(std::span<const at::Tensor> tensors) {
  if (table_ == nullptr) table_ = kernels::device_group();
  if (tensors.empty() || table_ == nullptr) return false;
  const at::Device device = device_.value_or(tensors[0].device());
  for (const at::Tensor& t : tensors) {
    if (t.is_cpu() || t.device() != device) return false;
  }
  if (!usable_) {
    GroupText why{};
    usable_ = table_->usable(&why) == GroupState::kDone;
    if (!*usable_) {
      log_warn("gradients are summed over the hosts, not from GPU to GPU: " + printable(why.text));
      told_ = true;
    }
  }
  return *usable_;
}

void DeviceSums::warn_of_others(int64_t ready_ranks) {
  if (told_) return;
  told_ = true;
  log_warn("gradients are summed over the hosts, not from GPU to GPU, which " + std::to_string(ready_ranks) +
           " of " + std::to_string(size_) + " ranks can");
}

bool DeviceSums::takes(const Bucket& bucket) {
  return bucket[0].scalar_type() == at::kFloat || bucket[0].scalar_type() == at::kDouble;
}

DeviceInvitation DeviceSums::invite() const {
  DeviceInvitation out;
  out.state = table_->make_id(&out.id, &out.why);
  return out;
}

GroupOutcome DeviceSums::join(const DeviceInvitation& invitation, at::Device device) {
  device_ = device;
  if (invitation.state != GroupState::kDone) return {End::kMine, invitation.why.text};
  const c10::DeviceGuard guard(device);
  GroupText why{};
  const GroupState begun = table_->join(&invitation.id, rank_, size_, &member_, &why);
  if (begun != GroupState::kRunning) return outcome_of(begun, why);
  GroupOutcome out = wait();
  joined_ = out.end == End::kDone;
  return out;
}

GroupOutcome DeviceSums::sum(const Bucket& bucket) try {
  const c10::DeviceGuard guard(*device_);
  const at::Tensor sums_n = flat(bucket, *device_);
  const auto type =
      sums_n.scalar_type() == at::kDouble ? kernels::GroupNumber::kF64 : kernels::GroupNumber::kF32;
  GroupText why{};
  const GroupState begun =
      table_->sum(member_, sums_n.mutable_data_ptr(), sums_n.numel(), type, stream_of(*device_), &why);
  if (begun != GroupState::kRunning) return outcome_of(begun, why);
  // Nothing is asked of the device until the sum is there: what LibTorch asks may wait for the whole device,
  // and would wait for ever if a rank does not come.
  GroupOutcome out = wait();
  if (out.end == End::kDone) copy_back(sums_n, bucket);
  return out;
} catch (const c10::Error& e) {
  return {End::kMine, e.what_without_backtrace()};
}

GroupOutcome DeviceSums::wait() {
  const auto end = Clock::now() + deadline_;
  for (microseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    GroupText why{};
    const GroupState state = table_->poll(member_, &why);
    if (state != GroupState::kRunning) return outcome_of(state, why);
    if (Clock::now() >= end) return {End::kLate, "no answer by the deadline"};
    std::this_thread::sleep_for(pause);
  }
}

// On a thread of its own, which is left behind if the device hangs.
void DeviceSums::abort() {
  joined_ = false;
  if (member_ == nullptr) return;
  std::packaged_task<void()> task([table = table_, member = member_, device = *device_] {
    const c10::DeviceGuard guard(device);
    table->abort(member);
  });
  member_ = nullptr;
  std::future<void> aborted = task.get_future();
  std::thread(std::move(task)).detach();
  if (aborted.wait_for(kAbortPatience) != std::future_status::ready)
    log_warn("the GPU does not end the sum that it waits in");
}

}  // namespace fulcrum
