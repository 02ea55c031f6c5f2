// The sums of a tile by the instruction vdpbf16ps. Included, on x86, by the two files that use it
// (op_avx512.cpp here and in ../gemm).
#pragma once

#include <immintrin.h>

#include <cstdint>

// On functions, not on a file: what else a file includes must run on every machine. As much as has_bf16_dot()
// asks for.
#define FULCRUM_AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))
#define FULCRUM_AVX512_BF16_INLINE FULCRUM_AVX512_BF16 __attribute__((always_inline)) inline

namespace fulcrum::kernels::bf16 {

// Of kRows rows and kVectors times 16 outputs that lie side by side.
template <int kRows, int kVectors>
struct DotSums {
  __m512 of[kRows][kVectors];

  FULCRUM_AVX512_BF16_INLINE DotSums() {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) of[r][j] = _mm512_setzero_ps();
    }
  }
  // The pairs of one step: of each row from left(row), of the outputs from `right` on, 64-byte aligned.
  template <class Left>
  FULCRUM_AVX512_BF16_INLINE void step(const Left& left, const uint32_t* right) {
    __m512bh outputs[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) outputs[j] = (__m512bh)_mm512_load_si512(right + 16 * j);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto row = (__m512bh)_mm512_set1_epi32(static_cast<int>(left(r)));
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) of[r][j] = _mm512_dpbf16_ps(of[r][j], row, outputs[j]);
    }
  }
  FULCRUM_AVX512_BF16_INLINE void store_to(float* y, int64_t y_stride, bool add) const {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        float* at = y + r * y_stride + 16 * j;
        _mm512_storeu_ps(at, add ? _mm512_add_ps(_mm512_loadu_ps(at), of[r][j]) : of[r][j]);
      }
    }
  }
};

}  // namespace fulcrum::kernels::bf16
