#include "engine/kernels/device/table.h"

#include <atomic>

namespace fulcrum::kernels {
namespace {

std::atomic<const DeviceKernels*> current = nullptr;

}  // namespace

const DeviceKernels* device_kernels() { return current.load(); }
void use_device_kernels(const DeviceKernels* kernels) { current.store(kernels); }

}  // namespace fulcrum::kernels
