// The CUDA kernels' own source as the kernels of the far device: each of their threads runs on the CPU
// (tests/support/cuda_on_host.h), on memory that is open to the host only while they do.
#pragma once

#include "engine/kernels/device/decode_table.h"
#include "engine/kernels/device/table.h"

namespace fulcrum::testing {

// This process's device kernels while it lives.
class EmulatedKernels {
 public:
  EmulatedKernels();
  ~EmulatedKernels() { kernels::use_device_kernels(nullptr); }
  EmulatedKernels(const EmulatedKernels&) = delete;
  EmulatedKernels& operator=(const EmulatedKernels&) = delete;

  static int64_t calls();  // of all kernels so far, in this process
};

// Those of decode_on_host.h, which may be given memory of the far device too.
const kernels::DecodeKernels& opened_decode_kernels();

}  // namespace fulcrum::testing
