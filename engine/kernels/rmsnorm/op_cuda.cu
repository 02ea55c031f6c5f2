#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// Two walks over the row: the second finds it in the cache.
template <class T>
__global__ void __launch_bounds__(kLargestBlock) rmsnorm_rows(NormRows in, T* y) {
  for (int64_t row = blockIdx.x; row < in.rows; row += gridDim.x) {
    const float* x = in.x + row * in.n;
    T* out = y + row * in.n;
    const bool vector = by_fours(x) && by_fours(in.weight) && by_fours(out);
    float squares = 0;
    for_quads({x}, 0, in.n, vector, 0, [&](int64_t, const Quad(&q)[1]) {
#pragma unroll
      for (int j = 0; j < 4; ++j) squares = fmaf(q[0].of[j], q[0].of[j], squares);
    });
    const float mean = block_sum(squares) / static_cast<float>(in.n);
    const float scale = 1.0f / sqrtf(mean + in.epsilon);
    for_quads({x, in.weight}, 0, in.n, vector, 0, [&](int64_t at, const Quad(&q)[2]) {
      Quad normed;
#pragma unroll
      for (int j = 0; j < 4; ++j) normed.of[j] = q[0].of[j] * scale * q[1].of[j];
      store_quad(out, at, in.n, vector, normed);
    });
  }
}

}  // namespace

int rmsnorm(const NormRows& in, ActivationType type, void* y, DeviceStream stream) {
  if (in.n == 0) return cudaSuccess;
  const dim3 grid(row_blocks(in.rows)), block(row_threads(in.n));
  if (type == ActivationType::kBf16)
    return launch<rmsnorm_rows<__nv_bfloat16>>(grid, block, stream, in, static_cast<__nv_bfloat16*>(y));
  return launch<rmsnorm_rows<float>>(grid, block, stream, in, static_cast<float*>(y));
}

}  // namespace fulcrum::kernels::cuda
