// Sums of tensors that lie on this rank's accelerator, taken there by the process's DeviceGroup (for GPUs
// NCCL's, engine/kernels/device/group_table.h). What it waits for it waits for by asking, so that it ends at
// the deadline whatever the others do. Called by C10dCollective, which brings the ranks to the same calls and
// finds who is missing. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "engine/collective/buckets.h"
#include "engine/core/status.h"
#include "engine/kernels/device/group_table.h"

namespace fulcrum {

// What rank 0 sends to the others: the id, or why there is none.
struct DeviceInvitation {
  kernels::GroupState state = kernels::GroupState::kFailed;
  kernels::GroupId id{};
  kernels::GroupText why{};
};

// How a call with the other ranks ended; kMine: this rank's own fault. `error` has the library's words.
struct GroupOutcome {
  enum class End { kDone, kMine, kPeer, kLate } end = End::kDone;
  std::string error;
  bool quoted = false;  // `error` belongs into the message that names another rank
};

class DeviceSums {
 public:
  // Of rank `rank` of `size`.
  DeviceSums(int64_t rank, int64_t size, std::chrono::milliseconds deadline)
      : rank_(rank), size_(size), deadline_(deadline) {}
  ~DeviceSums();
  DeviceSums(const DeviceSums&) = delete;
  DeviceSums& operator=(const DeviceSums&) = delete;

  // Whether this rank could sum them where they lie: all on one accelerator, always the same one. The first
  // time that only the library stands in the way there is a warning.
  bool ready(std::span<const at::Tensor> tensors);
  // The others are not, though this rank is: one warning.
  void warn_of_others(int64_t ready_ranks);
  static bool takes(const Bucket& bucket);

  bool joined() const { return joined_; }
  DeviceInvitation invite() const;
  GroupOutcome join(const DeviceInvitation& invitation, at::Device device);
  // Its numbers become the sums of the ranks' numbers.
  GroupOutcome sum(const Bucket& bucket);
  // Ends what runs on the device. Waits for that, but not for ever.
  void abort();

 private:
  GroupOutcome wait();

  const kernels::DeviceGroup* table_ = nullptr;  // the process's, once there is one
  int64_t rank_, size_;
  std::chrono::milliseconds deadline_;
  kernels::GroupMember* member_ = nullptr;
  std::optional<at::Device> device_;  // that of the first tensors
  bool joined_ = false;
  std::optional<bool> usable_;
  bool told_ = false;
};

}  // namespace fulcrum
