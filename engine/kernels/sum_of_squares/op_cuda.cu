// The norm of the gradients of all tensors that are trained together: one launch reads them, another adds up
// what its blocks found. Every order of addition is fixed by the sizes of the tensors alone.
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/trained.cuh"

namespace fulcrum::kernels::cuda {
namespace {

__device__ __forceinline__ double squares_of(const Quad& q) {
  float four = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) four = fmaf(q.of[j], q.of[j], four);
  return four;
}

// Block i has the i-th of every kSquareSums pieces. Four squares are added in fp32, the rest in double. All
// loads of a whole piece are on their way at once.
constexpr int kQuads = kTrainedPiece / (4 * kLargestBlock);
__global__ void __launch_bounds__(kLargestBlock) sums_of_squares(TrainedList list, double* sums) {
  double total = 0;
  for_pieces(list, [&](const TrainedTensor& t, int64_t begin, int64_t end, int64_t) {
    if (t.gradient == nullptr) return;
    const float* const mine = t.gradient + begin + int64_t{threadIdx.x} * 4;
    constexpr int64_t kStep = int64_t{kLargestBlock} * 4;
    Quad q[kQuads];
    if (by_fours(t.gradient) && begin + kTrainedPiece <= end) {
#pragma unroll
      for (int k = 0; k < kQuads; ++k) q[k] = load_four(mine + k * kStep);
    } else {
#pragma unroll
      for (int k = 0; k < kQuads; ++k) q[k] = load_quad(mine, k * kStep, end - (mine - t.gradient), false);
    }
#pragma unroll
    for (int k = 0; k < kQuads; ++k) total += squares_of(q[k]);
  });
  total = block_sum(total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// A block; a thread a sum.
__global__ void __launch_bounds__(kSquareSums) norm_of_sums(const double* sums, double* norm) {
  const double total = block_sum(sums[threadIdx.x]);
  if (threadIdx.x == 0) *norm = sqrt(total);
}

}  // namespace

int norm(const TrainedList& list, double* sums, double* norm, DeviceStream stream) {
  constexpr auto kSums = static_cast<unsigned>(kSquareSums);
  const int error = launch<sums_of_squares>(kSums, kLargestBlock, stream, list, sums);
  return error != cudaSuccess ? error : launch<norm_of_sums>(1, kSums, stream, sums, norm);
}

}  // namespace fulcrum::kernels::cuda
