// The tensor cores' product of small bf16 matrices with sums in fp32: one instruction of a warp. Included by
// decode_cuda.cu. On the host (tests) lanes exchange what the instruction reads from the others.
#pragma once

#include <cstdint>

#include "engine/kernels/device/launch.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {

// c [16, 8] += a [16, 16] b [16, 8]. Lane i holds, with g = i / 4 and t = i % 4 and pairs of neighbouring k
// in a word, the first in the low half: a[0], a[2]: row g, k from 2 t and from 2 t + 8; a[1], a[3]: the same
// of row g + 8; b[0], b[1]: column g, the same k; c[0], c[1]: row g, columns 2 t and 2 t + 1; c[2], c[3]: row
// g + 8.
__device__ __forceinline__ void add_mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifndef FULCRUM_CUDA_ON_HOST
  // Volatile: all lanes must come to it together, so it is neither moved into a branch nor left out.
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; ++half) {       // of k
    for (int other = 0; other < 4; ++other) {  // who holds a pair of k
      const uint32_t rows[2] = {__shfl_sync(kAllLanes, a[2 * half], g * 4 + other),
                                __shfl_sync(kAllLanes, a[2 * half + 1], g * 4 + other)};
      for (int column = 0; column < 2; ++column) {
        const uint32_t pair = __shfl_sync(kAllLanes, b[half], (2 * t + column) * 4 + other);
        for (int row = 0; row < 2; ++row) {
          float& sum = c[2 * row + column];
          sum = fmaf(__uint_as_float(rows[row] << 16), __uint_as_float(pair << 16), sum);
          sum = fmaf(__uint_as_float(rows[row] & 0xFFFF0000u), __uint_as_float(pair & 0xFFFF0000u), sum);
        }
      }
    }
  }
#endif
}

}  // namespace fulcrum::kernels::cuda
