#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// Block i has the i-th of every kSquareSums pieces of 2048 numbers. Four squares are added in fp32, the rest
// in double.
__global__ void __launch_bounds__(kLargestBlock) add_squares_blocks(const float* x, int64_t n, double* sums) {
  const int64_t piece = int64_t{blockDim.x} * 4, step = piece * kSquareSums;
  const bool vector = by_fours(x);
  double total = 0;
#pragma unroll 4
  for (int64_t at = blockIdx.x * piece + int64_t{threadIdx.x} * 4; at < n; at += step) {
    const Quad q = load_quad(x, at, n, vector);
    float four = 0;
    for (int j = 0; j < 4; ++j) four = fmaf(q.of[j], q.of[j], four);
    total += four;
  }
  total = block_sum(total);
  if (threadIdx.x == 0) sums[blockIdx.x] += total;
}

}  // namespace

int add_squares(const float* x, int64_t n, double* sums, DeviceStream stream) {
  if (n == 0) return cudaSuccess;
  return launch<add_squares_blocks>(static_cast<unsigned>(kSquareSums), kLargestBlock, stream, x, n, sums);
}

}  // namespace fulcrum::kernels::cuda
