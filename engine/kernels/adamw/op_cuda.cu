#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// A thread for each four numbers.
__global__ void __launch_bounds__(kItemThreads)
    adamw_items(AdamwStep step, const float* gradient, int64_t n, bool vector, float* weights, float* first,
                float* second) {
  for (int64_t at = first_item() * 4; at < n; at += item_step() * 4) {
    const Quad gradients = load_quad(gradient, at, n, vector);
    Quad w = load_quad(weights, at, n, vector), m = load_quad(first, at, n, vector);
    Quad v = load_quad(second, at, n, vector);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float g = __fmul_rn(step.gradient_scale, gradients.of[j]);
      m.of[j] = fmaf(step.beta1, m.of[j], __fmul_rn(1 - step.beta1, g));
      v.of[j] = fmaf(step.beta2, v.of[j], __fmul_rn(__fmul_rn(1 - step.beta2, g), g));
      const float slope = m.of[j] / __fadd_rn(sqrtf(v.of[j]) / step.root, step.epsilon);
      w.of[j] = fmaf(-step.rate, slope, __fmul_rn(step.kept, w.of[j]));
    }
    store_quad(weights, at, n, vector, w);
    store_quad(first, at, n, vector, m);
    store_quad(second, at, n, vector, v);
  }
}

}  // namespace

int adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
          float* second, DeviceStream stream) {
  const bool vector = by_fours(gradient) && by_fours(weights) && by_fours(first) && by_fours(second);
  return launch<adamw_items>(item_blocks((n + 3) / 4), kItemThreads, stream, step, gradient, n, vector,
                             weights, first, second);
}

}  // namespace fulcrum::kernels::cuda
