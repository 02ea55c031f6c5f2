#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// A thread for each four pairs of a head.
__global__ void __launch_bounds__(kItemThreads) rope_items(RopeRows in, bool vector) {
  const int64_t half = in.head_dim / 2, a_head = (half + 3) / 4, a_row = in.heads * a_head;
  const float sign = in.inverse ? -1.0f : 1.0f;
  for (int64_t item = first_item(); item < in.rows * a_row; item += item_step()) {
    const int64_t row = item / a_row, head = (item - row * a_row) / a_head;
    const int64_t at = (item - row * a_row - head * a_head) * 4;
    float* x = in.x + row * in.stride + head * in.head_dim;
    const Quad a = load_quad(x, at, half, vector), b = load_quad(x + half, at, half, vector);
    const Quad cosine = load_quad(in.cosines + row * half, at, half, vector);
    const Quad sine = load_quad(in.sines + row * half, at, half, vector);
    Quad low, high;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float s = sign * sine.of[j];
      low.of[j] = fmaf(a.of[j], cosine.of[j], -__fmul_rn(b.of[j], s));
      high.of[j] = fmaf(b.of[j], cosine.of[j], __fmul_rn(a.of[j], s));
    }
    store_quad(x, at, half, vector, low);
    store_quad(x + half, at, half, vector, high);
  }
}

}  // namespace

int rope(const RopeRows& in, DeviceStream stream) {
  const int64_t half = in.head_dim / 2, a_head = (half + 3) / 4;
  const bool vector =
      half % 4 == 0 && in.stride % 4 == 0 && by_fours(in.x) && by_fours(in.cosines) && by_fours(in.sines);
  return launch<rope_items>(item_blocks(in.rows * in.heads * a_head), kItemThreads, stream, in, vector);
}

}  // namespace fulcrum::kernels::cuda
