// How a kernel of a device is called on LibTorch's tensors. Used by the files of policy/nn and engine/learner
// that compute off the CPU.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include "engine/kernels/device/fallbacks.h"
#include "engine/kernels/device/table.h"

namespace fulcrum {

// LibTorch's current stream where `x` lies.
inline kernels::DeviceStream stream_of(const at::Tensor& x) {
  return c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()).native_handle();
}

inline kernels::ActivationType activation_type(at::ScalarType type) {
  return type == at::kBFloat16 ? kernels::ActivationType::kBf16 : kernels::ActivationType::kF32;
}

// run(kernels, stream) by this process's device kernels where `x` lies, or false: there are none. Throws
// c10::Error where the device refuses the work.
template <class Run>
bool if_device_kernel(const at::Tensor& x, const Run& run) {
  const kernels::DeviceKernels* table = kernels::device_kernels();
  if (table == nullptr) return false;
  const c10::DeviceGuard guard(x.device());  // any thread may call
  const int error = run(*table, stream_of(x));
  TORCH_CHECK(error == 0, "a kernel of the device failed: ", table->error_text(error));
  return true;
}

// The same, counted as `otherwise` where there are none.
template <class Run>
bool by_device_kernel(const at::Tensor& x, kernels::Fallback otherwise, const Run& run) {
  const bool done = if_device_kernel(x, run);
  if (!done) kernels::note_fallback(otherwise);
  return done;
}

}  // namespace fulcrum
