// Memory of a device and page-locked memory of the host that is given back by itself, and errors of the
// device as Status. Called by policy/decode/device. Values that can be moved, as thread-safe as plain arrays.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "engine/core/status.h"
#include "engine/kernels/device/decode_table.h"

namespace fulcrum {

// `what` says what was tried: "the accelerator: <what>: <the runtime's words>". kResourceExhausted where
// memory is short, kInternal for the rest.
Status device_status(const kernels::DecodeKernels& kernels, int error, std::string_view what);

struct FreeBytes {
  void (*free)(void*) = nullptr;
  void operator()(void* memory) const { free(memory); }
};
using OwnedBytes = std::unique_ptr<void, FreeBytes>;

// Not cleared.
Result<OwnedBytes> device_bytes(const kernels::DecodeKernels& kernels, int64_t bytes);
Result<OwnedBytes> page_locked_bytes(const kernels::DecodeKernels& kernels, int64_t bytes);

// Places for arrays in one piece of memory, each on a border that every load is content with.
class Places {
 public:
  // The offset of `bytes` more.
  int64_t add(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += kernels::round_up(bytes, kBorder);
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kBorder = 256;
  int64_t bytes_ = 0;
};

inline int64_t type_bytes(kernels::ActivationType type) {
  return type == kernels::ActivationType::kBf16 ? 2 : 4;
}

}  // namespace fulcrum
