// A device that is not the CPU, on a machine that has no other: LibTorch's PrivateUse1 over memory that the
// host may not touch. Operations run as the CPU's, on copies. Host code that follows a pointer into such a
// tensor ends with a segmentation fault, and an operation on tensors of both places with an exception: what
// runs here keeps the two apart as it must with a GPU. For tests; link tests_far_device.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum::testing {

at::Device far_device();

// While one lives the host may touch the memory: for kernels that stand in for the device's.
class FarAccess {
 public:
  FarAccess();
  ~FarAccess();
  FarAccess(const FarAccess&) = delete;
  FarAccess& operator=(const FarAccess&) = delete;
};

// Operations on far tensors so far, in this process.
int64_t far_operations();
// Bytes that went from there to the host so far.
int64_t far_bytes_read();

// Bytes of all tensors there at their peak, since the last call.
int64_t take_far_peak();
// What is more than that is refused as a GPU refuses it.
class FarLimit {
 public:
  explicit FarLimit(int64_t bytes);
  ~FarLimit();
  FarLimit(const FarLimit&) = delete;
  FarLimit& operator=(const FarLimit&) = delete;
};

}  // namespace fulcrum::testing
