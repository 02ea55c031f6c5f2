// What SwiGLU's gate and its backward pass on CUDA share. Called by op_cuda.cu of silu_mul and silu_mul_grad.
#pragma once

#include "engine/kernels/device/launch.h"

namespace fulcrum::kernels::cuda {

// 1 + e^-gate. The exponential ends at 88 as the CPU's does (engine/kernels/exp), so that a gate of -infinity
// gives no 0 over 0.
__device__ __forceinline__ float silu_below(float gate) { return 1.0f + expf(fminf(-gate, 88.0f)); }

}  // namespace fulcrum::kernels::cuda
