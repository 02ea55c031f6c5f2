#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

__device__ __forceinline__ double squares_of(const Quad& q) {
  float four = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) four = fmaf(q.of[j], q.of[j], four);
  return four;
}

// Block i has the i-th of every kSquareSums pieces of 2048 numbers. Four squares are added in fp32, the rest
// in double. Several loads are on their way at once where all of them are inside.
__global__ void __launch_bounds__(kLargestBlock) add_squares_blocks(const float* x, int64_t n, double* sums) {
  const int64_t piece = int64_t{blockDim.x} * 4, step = piece * kSquareSums;
  const bool vector = by_fours(x);
  constexpr int kAhead = 4;
  double total = 0;
  int64_t at = blockIdx.x * piece + int64_t{threadIdx.x} * 4;
  for (; vector && at + (kAhead - 1) * step + 4 <= n; at += kAhead * step) {
    Quad q[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) q[k] = load_four(x + at + k * step);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) total += squares_of(q[k]);
  }
  for (; at < n; at += step) total += squares_of(load_quad(x, at, n, vector));
  total = block_sum(total);
  if (threadIdx.x == 0) sums[blockIdx.x] += total;
}

}  // namespace

int add_squares(const float* x, int64_t n, double* sums, DeviceStream stream) {
  if (n == 0) return cudaSuccess;
  return launch<add_squares_blocks>(static_cast<unsigned>(kSquareSums), kLargestBlock, stream, x, n, sums);
}

}  // namespace fulcrum::kernels::cuda
