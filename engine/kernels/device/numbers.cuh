// Numbers of the two types that products take, on the device. Included by the kernels of a decode step.
#pragma once

#include <cstdint>

#include "engine/kernels/device/launch.h"
#include "engine/kernels/exp/constants.h"

namespace fulcrum::kernels::cuda {

__device__ __forceinline__ float to_fp32(float x) { return x; }
__device__ __forceinline__ float to_fp32(__nv_bfloat16 x) { return __bfloat162float(x); }

// kCount numbers that lie on a border of their own size, by 16-byte loads where they fill any.
template <int kCount>
__device__ __forceinline__ void load(const float* from, float* to) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = from[i];
  }
}
template <int kCount>
__device__ __forceinline__ void load(const __nv_bfloat16* from, float* to) {
  if constexpr (kCount % 8 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 8) {
      const uint4 eight = *reinterpret_cast<const uint4*>(from + i);
      const unsigned pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        to[i + 2 * j] = __uint_as_float(pairs[j] << 16);
        to[i + 2 * j + 1] = __uint_as_float(pairs[j] & 0xFFFF0000u);
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = to_fp32(from[i]);
  }
}

// e^x as engine/kernels/exp has it, to the bit.
__device__ __forceinline__ float exp_fp32(float x) {
  using namespace exp_constants;
  if (x != x) return x;
  if (x < kLow) return 0.0f;
  if (x > kHigh) x = kHigh;
  const float n = rintf(__fmul_rn(x, kLog2E));
  const float r = fmaf(n, -kLn2Low, fmaf(n, -kLn2High, x));
  constexpr float kTerm[kTerms] = {kTaylor[0], kTaylor[1], kTaylor[2], kTaylor[3],
                                   kTaylor[4], kTaylor[5], kTaylor[6], kTaylor[7]};
  float p = kTerm[0];
#pragma unroll
  for (int i = 1; i < kTerms; ++i) p = fmaf(p, r, kTerm[i]);
  return p * __int_as_float((static_cast<int>(n) + 127) << 23);
}

}  // namespace fulcrum::kernels::cuda
