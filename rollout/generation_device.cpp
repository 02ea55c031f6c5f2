#include "rollout/generation_device.h"

#include "engine/core/log.h"
#include "engine/kernels/device/driver.h"
#include "engine/kernels/device/plugin.h"

namespace fulcrum {
namespace {

Result<DeviceOptions> open_gpu() {
  TRY(gpus, kernels::usable_gpus());
  TRY(index, kernels::own_gpu(gpus.size()));
  TRY(plugin, kernels::open_plugin(kernels::plugin_path()));
  return DeviceOptions{.kernels = plugin->decode, .device = static_cast<int32_t>(index)};
}

}  // namespace

Result<DeviceOptions> generation_device(const std::string& name) {
  if (name == "cuda") return open_gpu();
  if (name != "auto" || !kernels::has_gpu()) return DeviceOptions{};
  Result<DeviceOptions> gpu = open_gpu();
  if (gpu.ok()) return gpu;
  log_warn("completions are generated on the CPU, not on the GPU: " + gpu.status().message());
  return DeviceOptions{};
}

std::string device_fingerprint(const DeviceOptions& device, const std::string& dtype) {
  const auto gpus = kernels::usable_gpus();
  const std::string name = gpus.ok() ? (*gpus)[static_cast<size_t>(device.device)].name : "unknown";
  return "cuda " + name + ", " + kernels::plugin_build() + ", " + dtype;
}

}  // namespace fulcrum
