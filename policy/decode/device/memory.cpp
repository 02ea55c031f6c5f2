#include "policy/decode/device/memory.h"

#include <algorithm>
#include <string>

namespace fulcrum {
namespace {

Result<OwnedBytes> allocated(const kernels::DecodeKernels& kernels, int (*allocate)(int64_t, void**),
                             void (*free)(void*), int64_t bytes, const char* where) {
  void* memory = nullptr;
  const int error = allocate(std::max<int64_t>(bytes, 1), &memory);
  TRY_DO(device_status(kernels, error,
                       "no " + std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB of " + where));
  return OwnedBytes(memory, FreeBytes{free});
}

}  // namespace

Status device_status(const kernels::DecodeKernels& kernels, int error, std::string_view what) {
  if (error == 0) return ok_status();
  return {error == kernels::kDeviceOutOfMemory ? Code::kResourceExhausted : Code::kInternal,
          "the accelerator: " + std::string(what) + ": " + kernels.error_text(error)};
}

Result<OwnedBytes> device_bytes(const kernels::DecodeKernels& kernels, int64_t bytes) {
  return allocated(kernels, kernels.allocate, kernels.free, bytes, "its memory");
}

Result<OwnedBytes> page_locked_bytes(const kernels::DecodeKernels& kernels, int64_t bytes) {
  return allocated(kernels, kernels.allocate_host, kernels.free_host, bytes, "page-locked memory");
}

}  // namespace fulcrum
