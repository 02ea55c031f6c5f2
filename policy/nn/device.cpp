#include "policy/nn/device.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <atomic>

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

// The same numbers again from the same run, where LibTorch can choose.
void ask_for_determinism() {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

Result<at::Device> open_cuda() {
  TRY(own, kernels::own_gpu());
  TRY_DO(load_torch_cuda());
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(own.index));
  return catch_torch("the GPU cannot be used", [&]() -> Result<at::Device> {
    if (c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount() <= device.index())
      return failed_precondition("LibTorch finds no GPU, though the driver does: " + own.gpu.name);
    c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
    ask_for_determinism();
    if (const auto plugin = kernels::open_plugin(kernels::plugin_path()); plugin.ok()) {
      kernels::use_device_kernels((*plugin)->kernels);
      kernels::use_device_group((*plugin)->group);
    } else {
      log_warn("the GPU is used without Fulcrum's kernels, several times slower: " +
               plugin.status().message());
    }
    log_info("learning on GPU " + std::to_string(own.index) + ": " + own.gpu.name);
    return device;
  });
}

std::atomic<bool> cuda_in_use = false;

const Result<at::Device>& cuda() {
  static const Result<at::Device> opened = [] {
    Result<at::Device> device = open_cuda();
    cuda_in_use = device.ok();
    return device;
  }();
  return opened;
}

}  // namespace

Result<at::Device> open_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "cuda") return cuda();
  if (name == "auto") {
    if (!kernels::has_gpu()) return at::Device(at::kCPU);
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

void give_back_reserve() {
  if (cuda_in_use) at::getDeviceAllocator(at::kCUDA)->emptyCache();
}

void wait_for(at::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

}  // namespace fulcrum
