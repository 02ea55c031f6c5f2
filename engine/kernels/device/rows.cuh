// What the kernels over rows share: sums over a block, and loads and stores of four floats at a time. A block
// works on a row. Which thread takes which numbers depends on the row's length alone, never on where the row
// lies, so a row's sums have the same bits at every address. Called by the op_cuda.cu files.
#pragma once

#include <cstdint>

#include "engine/kernels/device/launch.h"
#include "engine/kernels/device/table.h"

namespace fulcrum::kernels::cuda {

inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;
inline constexpr unsigned kLargestBlock = 512;

// Threads for a row of n floats. A block of one warp needs no barrier.
inline unsigned row_threads(int64_t n) { return n <= 512 ? 32 : n <= 4096 ? 128 : kLargestBlock; }

// A block for each row as far as a grid goes; kernels walk on from there.
inline unsigned row_blocks(int64_t rows) {
  constexpr int64_t kLargestGrid = 0x7FFFFFFF;
  return static_cast<unsigned>(rows < kLargestGrid ? rows : kLargestGrid);
}

// For kernels with a thread an item, which walk on too.
inline constexpr unsigned kItemThreads = 256;
inline unsigned item_blocks(int64_t items) { return row_blocks((items + kItemThreads - 1) / kItemThreads); }
__device__ __forceinline__ int64_t first_item() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t item_step() { return int64_t{gridDim.x} * blockDim.x; }

// The sums over all threads of the block, in all threads. Every order of addition is fixed.
template <int kN, class T>
__device__ __forceinline__ void block_sums(T (&values)[kN]) {
  for (int step = 16; step > 0; step /= 2) {
    for (int i = 0; i < kN; ++i) values[i] += __shfl_xor_sync(kAllLanes, values[i], step);
  }
  const unsigned warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warps == 1) return;
  __shared__ T of_warp[kN][kLargestBlock / 32];
  __syncthreads();  // those of the sums before have been read
  for (int i = 0; i < kN; ++i) {
    if (lane == 0) of_warp[i][warp] = values[i];
  }
  __syncthreads();
  for (int i = 0; i < kN; ++i) values[i] = lane < warps ? of_warp[i][lane] : T(0);
  for (int step = 16; step > 0; step /= 2) {
    for (int i = 0; i < kN; ++i) values[i] += __shfl_xor_sync(kAllLanes, values[i], step);
  }
}
template <class T>
__device__ __forceinline__ T block_sum(T value) {
  T values[1] = {value};
  block_sums(values);
  return values[0];
}

// The largest of all threads, in all threads; NaN counts for nothing.
__device__ __forceinline__ float block_max(float value) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  const unsigned warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warps == 1) return value;
  __shared__ float of_warp[kLargestBlock / 32];
  __syncthreads();
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  value = of_warp[lane < warps ? lane : 0];
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// Whether four numbers of T at once may be loaded from or stored to x.
template <class T>
__host__ __device__ __forceinline__ bool by_fours(const T* x) {
  return reinterpret_cast<uintptr_t>(x) % (4 * sizeof(T)) == 0;
}

struct Quad {
  float of[4];
};

__device__ __forceinline__ Quad load_four(const float* x) {
  const float4 v = *reinterpret_cast<const float4*>(x);
  return {{v.x, v.y, v.z, v.w}};
}

// x[at ... at + 3] of n; what is past the end reads as `past`.
__device__ __forceinline__ Quad load_quad(const float* x, int64_t at, int64_t n, bool vector,
                                          float past = 0) {
  if (vector && at + 4 <= n) return load_four(x + at);
  Quad quad;
#pragma unroll
  for (int j = 0; j < 4; ++j) quad.of[j] = at + j < n ? x[at + j] : past;
  return quad;
}

__device__ __forceinline__ float as(float x, const float*) { return x; }
__device__ __forceinline__ __nv_bfloat16 as(float x, const __nv_bfloat16*) { return __float2bfloat16_rn(x); }

__device__ __forceinline__ void store_four(float* y, const Quad& q) {
  *reinterpret_cast<float4*>(y) = make_float4(q.of[0], q.of[1], q.of[2], q.of[3]);
}
__device__ __forceinline__ void store_four(__nv_bfloat16* y, const Quad& q) {
  struct alignas(8) Pairs {
    __nv_bfloat162 low, high;
  };
  *reinterpret_cast<Pairs*>(y) = {__floats2bfloat162_rn(q.of[0], q.of[1]),
                                  __floats2bfloat162_rn(q.of[2], q.of[3])};
}

template <class T>
__device__ __forceinline__ void store_quad(T* y, int64_t at, int64_t n, bool vector, const Quad& quad) {
  if (vector && at + 4 <= n) {
    store_four(y + at, quad);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (at + j < n) y[at + j] = as(quad.of[j], y);
  }
}

// Calls f(at, quads) for this thread's share of the numbers [begin, end) of some arrays, the next ones being
// on their way meanwhile. `begin` is a multiple of 4.
template <int kArrays, class F>
__device__ __forceinline__ void for_quads(const float* const (&arrays)[kArrays], int64_t begin, int64_t end,
                                          bool vector, float past, const F& f) {
  const int64_t step = int64_t{blockDim.x} * 4;
  int64_t at = begin + int64_t{threadIdx.x} * 4;
  Quad next[kArrays], now[kArrays];
#pragma unroll
  for (int a = 0; a < kArrays; ++a) next[a] = load_quad(arrays[a], at, end, vector, past);
  while (at < end) {
    const int64_t after = at + step;
#pragma unroll
    for (int a = 0; a < kArrays; ++a) {
      now[a] = next[a];
      next[a] = load_quad(arrays[a], after, end, vector, past);
    }
    f(at, now);
    at = after;
  }
}

// x - s for an s with more digits than a float has, in two parts, the first of which is exact near s.
class Shift {
 public:
  __device__ __forceinline__ explicit Shift(double s)
      : high_(static_cast<float>(s)), low_(static_cast<float>(s - static_cast<double>(high_))) {}
  __device__ __forceinline__ float operator()(float x) const { return x - high_ - low_; }

 private:
  float high_, low_;
};

}  // namespace fulcrum::kernels::cuda
