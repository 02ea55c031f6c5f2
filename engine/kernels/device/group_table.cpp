#include "engine/kernels/device/group_table.h"

#include <atomic>

namespace fulcrum::kernels {
namespace {

std::atomic<const DeviceGroup*> current = nullptr;

}  // namespace

const DeviceGroup* device_group() { return current.load(); }
void use_device_group(const DeviceGroup* group) { current.store(group); }

}  // namespace fulcrum::kernels
