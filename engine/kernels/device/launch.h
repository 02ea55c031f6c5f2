// What a kernel's source (op_cuda.cu) includes: the device language, and the one way to launch. Compiled by
// nvcc into the plugin, or, with FULCRUM_CUDA_ON_HOST, by the C++ compiler into tests that run each thread on
// the CPU (tests/support/cuda_on_host.h). Kernels are written in what both have. Thread-safe.
#pragma once

#ifdef FULCRUM_CUDA_ON_HOST

#include "tests/support/cuda_on_host.h"

namespace fulcrum::kernels {
using cuda_on_host::dynamic_shared;
namespace launching = cuda_on_host;
}  // namespace fulcrum::kernels

#else

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

namespace fulcrum::kernels {

namespace launching {

template <auto kKernel>
int allow_shared(size_t bytes) {
  return cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

template <class... Parameters, class... Arguments>
int start(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
          Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...);
}
template <auto kKernel, class... Arguments>
int start(dim3 grid, dim3 block, size_t shared_bytes, void* stream, Arguments&&... arguments) {
  return start(kKernel, grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...);
}

}  // namespace launching

// The block's shared memory of launch_with_shared(), aligned to 16 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ uint4 fulcrum_dynamic_shared[];
  return reinterpret_cast<T*>(fulcrum_dynamic_shared);
}

}  // namespace fulcrum::kernels

#endif

namespace fulcrum::kernels {

// What failed is taken off the runtime's record of this thread. LibTorch has the same runtime: its next
// launch would report what is left there as its own failure.
inline int noted(int error) {
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  return error;
}

// Of the 48 KiB that a block has unasked; the kernel's own __shared__ variables are in the rest (the draw's,
// the most, are 2.3 KiB).
inline constexpr size_t kSharedUnasked = 44 << 10;

// Puts kernel(arguments...) on the stream: launch<kernel>(...) or launch<kernel<float>>(...). Returns the
// runtime's error; a grid without blocks is no error and does nothing.
template <auto kKernel, class... Arguments>
int launch_with_shared(dim3 grid, dim3 block, size_t shared_bytes, void* stream, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  if (shared_bytes > kSharedUnasked) {
    const int error = noted(launching::allow_shared<kKernel>(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  return noted(
      launching::start<kKernel>(grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...));
}
template <auto kKernel, class... Arguments>
int launch(dim3 grid, dim3 block, void* stream, Arguments&&... arguments) {
  return launch_with_shared<kKernel>(grid, block, 0, stream, std::forward<Arguments>(arguments)...);
}

}  // namespace fulcrum::kernels
