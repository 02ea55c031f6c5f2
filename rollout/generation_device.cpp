#include "rollout/generation_device.h"

#include "engine/core/log.h"
#include "engine/kernels/device/driver.h"
#include "engine/kernels/device/plugin.h"
#include "policy/decode/device/stream.h"

namespace fulcrum {
namespace {

Result<DeviceOptions> open_gpu() {
  TRY(own, kernels::own_gpu());
  TRY(plugin, kernels::open_plugin(kernels::plugin_path()));
  const DeviceOptions out{.kernels = plugin->decode, .device = static_cast<int32_t>(own.index)};
  // The runtime may refuse what the driver shows.
  if (const auto work = DeviceWork::make(*out.kernels, out.device, false); !work.ok())
    return failed_precondition(work.status().message());
  return out;
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
  const auto driver = kernels::read_driver();
  const auto index = static_cast<size_t>(device.device);
  const std::string name = driver.ok() && index < driver->gpus.size() ? driver->gpus[index].name : "unknown";
  return "cuda " + name + ", " + kernels::plugin_build() + ", " + dtype;
}

}  // namespace fulcrum
