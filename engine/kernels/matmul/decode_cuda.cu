#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/numbers.cuh"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kOutputs = 4;  // of a warp, so that a number of x that was loaded serves four weights

// Adds kN sums over a warp's lanes by halves: lane i first with i + 16, at last with i + 1. At each halving a
// lane gives half of its sums away and goes on with the others, until lane i is left with the sums from i kN
// / 32 on: a fifth of the exchanges that adding each of many sums in all lanes would take, in the same order.
template <int kN, int kStep>
__device__ __forceinline__ void add_lanes(float* sums) {
  if constexpr (kStep > 0 && kN > 1) {
    constexpr int kHalf = kN / 2;
    const bool upper = threadIdx.x & kStep;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float given = upper ? sums[i] : sums[i + kHalf], kept = upper ? sums[i + kHalf] : sums[i];
      sums[i] = kept + __shfl_xor_sync(kAllLanes, given, kStep);
    }
    add_lanes<kHalf, kStep / 2>(sums);
  } else if constexpr (kStep > 0) {
    sums[0] += __shfl_xor_sync(kAllLanes, sums[0], kStep);
    add_lanes<1, kStep / 2>(sums);
  }
}

// A warp's lanes take kVector inputs at a time and add them in chains of fused multiply-adds; then lanes are
// added by halves. That order hangs on the number of inputs alone. Rows past the last read the last and are
// not written. Blocks of one part of the weights lie side by side in x, so that their loads meet in the
// cache.
template <class T, int kRows, int kVector>
__global__ void product_kernel(Product in) {
  const int lane = threadIdx.x % 32;
  const int64_t first_row = int64_t{blockIdx.x} * kRows;
  const int64_t first = (int64_t{blockIdx.y} * kWarps + threadIdx.x / 32) * kOutputs;
  if (first >= in.outputs) return;
  const T *x[kRows], *weights[kOutputs];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    x[r] = static_cast<const T*>(in.x) + min(first_row + r, in.rows - 1) * in.inputs;
#pragma unroll
  for (int o = 0; o < kOutputs; ++o)
    weights[o] = static_cast<const T*>(in.weights) + min(first + o, in.outputs - 1) * in.inputs;

  constexpr int kSums = kOutputs * kRows;
  float sums[kSums] = {};
  // With few rows it is loads under way that count.
#pragma unroll(kRows <= 2 ? 4 : 1)
  for (int64_t i = lane * kVector; i < in.inputs; i += 32 * kVector) {
    float w[kOutputs][kVector];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) load<kVector>(weights[o] + i, w[o]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float part[kVector];
      load<kVector>(x[r] + i, part);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
        for (int e = 0; e < kVector; ++e) sums[o * kRows + r] = fmaf(w[o][e], part[e], sums[o * kRows + r]);
      }
    }
  }
  add_lanes<kSums, 16>(sums);
  constexpr int kLeft = kSums < 32 ? 1 : kSums / 32, kAlike = kSums < 32 ? 32 / kSums : 1;
  if (lane % kAlike != 0) return;  // others have the same
#pragma unroll
  for (int i = 0; i < kLeft; ++i) {
    const int at = lane * kSums / 32 + i;
    const int64_t row = first_row + at % kRows, output = first + at / kRows;
    if (row >= in.rows || output >= in.outputs) continue;
    float* y = in.y + row * in.outputs + output;
    *y = in.add ? *y + sums[i] : sums[i];
  }
}

template <class T, int kRows, int kVector>
int product(const Product& in, DeviceStream stream) {
  const dim3 grid(static_cast<unsigned>((in.rows + kRows - 1) / kRows),
                  static_cast<unsigned>((in.outputs + kWarps * kOutputs - 1) / (kWarps * kOutputs)));
  return launch<product_kernel<T, kRows, kVector>>(grid, dim3(kWarps * 32), stream, in);
}

template <class T, int kVector>
int product_of_rows(const Product& in, DeviceStream stream) {
  if (in.rows <= 1) return product<T, 1, kVector>(in, stream);
  if (in.rows <= 2) return product<T, 2, kVector>(in, stream);
  if (in.rows <= 4) return product<T, 4, kVector>(in, stream);
  if (in.rows <= 8) return product<T, 8, kVector>(in, stream);
  return product<T, kProductRows, kVector>(in, stream);
}

}  // namespace

int product_rows(const Product& in, DeviceStream stream) {
  if (in.type == ActivationType::kBf16) {
    if (in.inputs % 8 == 0) return product_rows_bf16(in, stream);
    return product_of_rows<__nv_bfloat16, 1>(in, stream);
  }
  if (in.inputs % 4 == 0) return product_of_rows<float, 4>(in, stream);
  return product_of_rows<float, 1>(in, stream);
}

}  // namespace fulcrum::kernels::cuda
