// Changed weights (op.h) of a list of tensors: fp32 `weights` against the bf16 ones in `rounded`, 12 bytes a
// weight over three launches. The first counts each piece's changes, the second adds the counts up, so that
// the third knows where each piece's stand: their order is that of the weights, whatever ran first.
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/trained.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr unsigned kLanes = 32;

struct alignas(8) FourBits {
  uint16_t of[4];
};

// Four weights as bf16, and those published of them. What is past the end is equal in both.
struct Compared {
  FourBits now, before;
  __device__ __forceinline__ int changed(int j) const { return now.of[j] != before.of[j] ? 1 : 0; }
  __device__ __forceinline__ int count() const { return changed(0) + changed(1) + changed(2) + changed(3); }
};
__device__ __forceinline__ Compared compare(const TrainedTensor& t, int64_t at, int64_t end) {
  const auto* const published = static_cast<const uint16_t*>(t.rounded);
  const Quad w = load_quad(t.weights, at, end, by_fours(t.weights));
  Compared out;
#pragma unroll
  for (int j = 0; j < 4; ++j) out.now.of[j] = __bfloat16_as_ushort(__float2bfloat16_rn(w.of[j]));
  if (by_fours(published) && at + 4 <= end) {
    out.before = *reinterpret_cast<const FourBits*>(published + at);
    return out;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) out.before.of[j] = at + j < end ? published[at + j] : out.now.of[j];
  return out;
}

// counts[piece], a block a piece.
__global__ void __launch_bounds__(kItemThreads) count_changes(TrainedList list, int64_t* counts) {
  for_pieces(list, [&](const TrainedTensor& t, int64_t begin, int64_t end, int64_t piece) {
    int count = 0;
    for (int64_t at = begin + int64_t{threadIdx.x} * 4; at < end; at += int64_t{kItemThreads} * 4)
      count += compare(t, at, end).count();
    count = block_sum(count);
    if (threadIdx.x == 0) counts[piece] = count;
  });
}

// The sum of the values of the threads before this one; `total` gets that of all.
template <class T>
__device__ __forceinline__ T sum_before(T value, T& total) {
  __shared__ T of_warp[kLargestBlock / kLanes];
  const unsigned lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  T sum = value;
  for (unsigned step = 1; step < kLanes; step *= 2) {
    const T other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();  // those of the sums before have been read
  if (lane == kLanes - 1) of_warp[warp] = sum;
  __syncthreads();
  total = 0;
  T before = 0;
  for (unsigned w = 0; w < blockDim.x / kLanes; ++w) {
    if (w == warp) before = total;
    total += of_warp[w];
  }
  return before + sum - value;
}

// Counts become where each piece's changes begin; behind the last one, how many there are. One block.
__global__ void __launch_bounds__(kLargestBlock) add_up(int64_t* counts, int64_t pieces) {
  int64_t all = 0;
  for (int64_t first = 0; first < pieces; first += kLargestBlock) {
    const int64_t i = first + threadIdx.x;
    int64_t total = 0;
    const int64_t before = sum_before(i < pieces ? counts[i] : int64_t{0}, total);
    if (i < pieces) counts[i] = all + before;
    all += total;
  }
  if (threadIdx.x == 0) counts[pieces] = all;
}

__global__ void __launch_bounds__(kItemThreads) write_changes(TrainedList list, ChangedWeights out) {
  for_pieces(list, [&](const TrainedTensor& t, int64_t begin, int64_t end, int64_t piece) {
    int64_t next = out.begins[piece];
    if (next == out.begins[piece + 1]) return;
    auto* const published = static_cast<uint16_t*>(t.rounded);
    for (int64_t row = begin; row < end; row += int64_t{kItemThreads} * 4) {
      const int64_t at = row + int64_t{threadIdx.x} * 4;
      Compared four = {};
      if (at < end) four = compare(t, at, end);
      int total = 0;
      int64_t place = next + sum_before(four.count(), total);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (four.changed(j) == 0) continue;
        published[at + j] = four.now.of[j];
        if (place < out.capacity)
          out.changes[place] = WeightChange{four.now.of[j]} << 16 | static_cast<WeightChange>(at + j - begin);
        ++place;
      }
      next += total;
    }
  });
}

}  // namespace

int weight_changes(const TrainedList& list, const ChangedWeights& out, DeviceStream stream) {
  const unsigned blocks = row_blocks(list.pieces);
  int error = launch<count_changes>(blocks, kItemThreads, stream, list, out.begins);
  if (error == cudaSuccess) error = launch<add_up>(1, kLargestBlock, stream, out.begins, list.pieces);
  if (error == cudaSuccess) error = launch<write_changes>(blocks, kItemThreads, stream, list, out);
  return error;
}

}  // namespace fulcrum::kernels::cuda
