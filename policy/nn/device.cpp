#include "policy/nn/device.h"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/kernels/device/driver.h"
#include "engine/kernels/device/plugin.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

// LibTorch registers what it can do on a GPU when its library is loaded.
Status load_torch_cuda() {
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) return ok_status();
  return failed_precondition("LibTorch's CUDA library cannot be loaded: " + printable(::dlerror()) +
                             "; ./dev setup-cuda installs what it needs");
}

// Which of the GPUs belongs to this rank.
Result<int64_t> own_index(size_t gpus) {
  const char* variable = std::getenv("LOCAL_RANK");
  if (variable == nullptr) return int64_t{0};
  const std::string_view text = variable;
  int64_t index = -1;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), index);
  if (error != std::errc() || end != text.end() || index < 0)
    return invalid_argument("LOCAL_RANK is " + in_quotes(variable) + ", it must be a whole number");
  if (static_cast<size_t>(index) < gpus) return index;
  return failed_precondition("LOCAL_RANK is " + std::to_string(index) + ", but this machine has " +
                             std::to_string(gpus) + (gpus == 1 ? " GPU" : " GPUs") +
                             ": start fewer ranks, or give --device cpu");
}

// The same numbers again from the same run, where LibTorch can choose.
void ask_for_determinism() {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

Result<at::Device> open_cuda() {
  TRY(gpus, kernels::usable_gpus());
  TRY(index, own_index(gpus.size()));
  TRY_DO(load_torch_cuda());
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
  return catch_torch("the GPU cannot be used", [&]() -> Result<at::Device> {
    if (c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount() <= device.index())
      return failed_precondition("LibTorch finds no GPU, though the driver does: " + gpus[0].name);
    c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
    ask_for_determinism();
    if (const auto plugin = kernels::open_plugin(kernels::plugin_path()); plugin.ok()) {
      kernels::use_device_kernels((*plugin)->kernels);
      kernels::use_device_group((*plugin)->group);
    } else {
      log_warn("the GPU is used without Fulcrum's kernels, several times slower: " +
               plugin.status().message());
    }
    log_info("learning on GPU " + std::to_string(index) + ": " +
             printable(gpus[static_cast<size_t>(index)].name));
    return device;
  });
}

const Result<at::Device>& cuda() {
  static const Result<at::Device> opened = open_cuda();
  return opened;
}

}  // namespace

Result<at::Device> open_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "cuda") return cuda();
  if (name == "auto") {
    if (!kernels::has_driver()) return at::Device(at::kCPU);
    if (cuda().ok()) return cuda();
    static const bool told = [] {
      log_warn("the CPU is used, not the GPU: " + cuda().status().message());
      return true;
    }();
    (void)told;
    return at::Device(at::kCPU);
  }
  return catch_torch("device " + in_quotes(name), [&]() -> Result<at::Device> { return at::Device(name); });
}

void wait_for(at::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

}  // namespace fulcrum
