#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// The gradients of the weights that a block adds up stay in its shared memory where they fit.
constexpr size_t kMostShared = 48 << 10;  // besides what block_sums() has

// A block takes kNormGradientRows rows, one after another; a thread has the same columns in each, so that
// its sums of the weights' gradients are its own.
template <class T>
__global__ void __launch_bounds__(kLargestBlock, 2)
    rmsnorm_gradient_rows(NormRows in, const float* dy, T* y, float* dx, float* d_weight_blocks,
                          bool shared) {
  const int64_t n = in.n, blocks = (in.rows + kNormGradientRows - 1) / kNormGradientRows;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    float* written = d_weight_blocks + block * n;
    float* sums = shared ? dynamic_shared<float>() : written;
    const bool sums_by_fours = by_fours(sums);
    for (int64_t at = int64_t{threadIdx.x} * 4; at < n; at += int64_t{blockDim.x} * 4)
      store_quad(sums, at, n, sums_by_fours, {});
    const int64_t first = block * kNormGradientRows;
    for (int64_t row = first; row < min(first + kNormGradientRows, in.rows); ++row) {
      const float *x = in.x + row * n, *up = dy + row * n;
      float* through = dx + row * n;
      T* out = y + row * n;
      const bool vector =
          by_fours(x) && by_fours(up) && by_fours(in.weight) && by_fours(through) && by_fours(out);
      float both[2] = {};  // x^2, and dy weight x
      for_quads({x, up, in.weight}, 0, n, vector, 0, [&](int64_t, const Quad(&q)[3]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          both[0] = fmaf(q[0].of[j], q[0].of[j], both[0]);
          both[1] = fmaf(q[1].of[j] * q[2].of[j], q[0].of[j], both[1]);
        }
      });
      block_sums(both);
      const auto count = static_cast<float>(n);
      const float r = 1.0f / sqrtf(both[0] / count + in.epsilon), mean = both[1] * r / count;
      for_quads({x, up, in.weight, through}, 0, n, vector, 0, [&](int64_t at, const Quad(&q)[4]) {
        Quad d_x, normed_y, d_weight = load_quad(sums, at, n, sums_by_fours);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float normed = q[0].of[j] * r;
          d_x.of[j] = fmaf(q[1].of[j] * q[2].of[j] - normed * mean, r, q[3].of[j]);
          normed_y.of[j] = normed * q[2].of[j];
          d_weight.of[j] = fmaf(q[1].of[j], normed, d_weight.of[j]);
        }
        store_quad(through, at, n, vector, d_x);
        store_quad(out, at, n, vector, normed_y);
        store_quad(sums, at, n, sums_by_fours, d_weight);
      });
    }
    if (!shared) continue;
    const bool vector = by_fours(written);
    for (int64_t at = int64_t{threadIdx.x} * 4; at < n; at += int64_t{blockDim.x} * 4)
      store_quad(written, at, n, vector, load_quad(sums, at, n, true));
  }
}

// More than for other rows: there are few blocks.
unsigned gradient_threads(int64_t n) {
  unsigned threads = 32;
  while (threads < kLargestBlock && int64_t{threads} * 4 < n) threads *= 2;
  return threads;
}

}  // namespace

int rmsnorm_backward(const NormRows& in, const float* dy, ActivationType type, void* y, float* dx,
                     float* d_weight_blocks, DeviceStream stream) {
  if (in.n == 0) return cudaSuccess;
  const dim3 grid(row_blocks((in.rows + kNormGradientRows - 1) / kNormGradientRows));
  const dim3 block(gradient_threads(in.n));
  const size_t bytes = static_cast<size_t>(in.n + 3) / 4 * 16;
  const bool shared = bytes <= kMostShared;
  if (type == ActivationType::kBf16) {
    return launch_with_shared<rmsnorm_gradient_rows<__nv_bfloat16>>(grid, block, shared ? bytes : 0, stream,
                                                                    in, dy, static_cast<__nv_bfloat16*>(y),
                                                                    dx, d_weight_blocks, shared);
  }
  return launch_with_shared<rmsnorm_gradient_rows<float>>(
      grid, block, shared ? bytes : 0, stream, in, dy, static_cast<float*>(y), dx, d_weight_blocks, shared);
}

}  // namespace fulcrum::kernels::cuda
