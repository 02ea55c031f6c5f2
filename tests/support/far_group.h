// A DeviceGroup for the far device: its members are the ranks' threads in one process, and the last of them
// that comes to a sum takes it for all, over memory that is open to the host only then. A test may let a
// member hang, fail or be left behind. For tests; link tests_far_device.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/kernels/device/group_table.h"

namespace fulcrum::testing {

enum class FarGroupCall { kMakeId, kJoin, kSum };

// What a call comes to instead. kDone: what it should; kRunning: nothing, for ever.
struct FarGroupFault {
  kernels::GroupState state = kernels::GroupState::kDone;
  std::string text;
};

struct FarGroupOrders {
  std::string missing;  // why the library cannot be used
  std::function<FarGroupFault(FarGroupCall call, int64_t rank)> fault;
};

struct FarGroupCounts {
  int64_t ids = 0, joins = 0, sums = 0, polls = 0;
  std::vector<int64_t> aborted, left;  // ranks, in their order
};

const kernels::DeviceGroup& far_group_table();
void give_far_group_orders(FarGroupOrders orders);  // and forgets the counts
FarGroupCounts far_group_counts();

// This process's device group while it lives.
class FarGroup {
 public:
  explicit FarGroup(FarGroupOrders orders = {}) {
    give_far_group_orders(std::move(orders));
    kernels::use_device_group(&far_group_table());
  }
  ~FarGroup() { kernels::use_device_group(nullptr); }
  FarGroup(const FarGroup&) = delete;
  FarGroup& operator=(const FarGroup&) = delete;
};

}  // namespace fulcrum::testing
