// The product in bf16 by the instruction vdpbf16ps, with raw intrinsics as in ../matmul_bf16/op_avx512.cpp.
#include <algorithm>
#include <cstdint>

#include "engine/kernels/gemm/op.h"
#include "engine/kernels/matmul/op.h"
#include "engine/kernels/matmul_bf16/op.h"

#if defined(__x86_64__)
#include <hwy/base.h>

#include "engine/kernels/matmul_bf16/dot_sums.h"

// Around these functions, not for the file: what else it includes must run on every machine.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bf16")
// Of the compiler's own headers: GCC 12 takes what _mm512_undefined_epi32() stands for to be read.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace fulcrum::kernels::bf16 {
namespace {

#include "engine/kernels/gemm/blocks_inl.h"

// The first n of 16 lanes.
HWY_INLINE __mmask16 first(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1 << n) - 1);
}

// 16 pairs of inputs that lie side by side: the even one in the low half.
HWY_INLINE __m512i pairs_of(const float* x, int64_t n) {
  const __m512 low = _mm512_maskz_loadu_ps(first(n), x), high = _mm512_maskz_loadu_ps(first(n - 16), x + 16);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// `depth` lines of `length` numbers as lines of pairs of one line and the next; 0 up to a multiple of 16, and
// where the last line has no next.
HWY_INLINE void pack_lines(const float* x, int64_t x_stride, int64_t depth, int64_t length, uint32_t* y,
                           int64_t y_stride) {
  for (int64_t k = 0; k < depth; k += 2, x += 2 * x_stride, y += y_stride) {
    const int64_t other = k + 1 < depth ? length : 0;
    for (int64_t i = 0; i < length; i += 16) {
      const __m512 even = _mm512_maskz_loadu_ps(first(length - i), x + i);
      const __m512 odd = _mm512_maskz_loadu_ps(first(other - i), x + x_stride + i);
      const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
      const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd)), 16);
      _mm512_store_si512(y + i, _mm512_or_si512(low, high));
    }
  }
}

// Sixteen rows of sixteen become columns.
HWY_INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // lanes 0 and 2, lanes 1 and 3, of the four groups of rows
    const __m512i even = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    const __m512i more_even = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    const __m512i more_odd = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(even, more_even, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(odd, more_odd, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(even, more_even, 0xdd);
    t[12 + j] = _mm512_shuffle_i32x4(odd, more_odd, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

struct Dot {
  using Word = uint32_t;
  static constexpr int64_t kInputs = 2, kDepth = kBf16ChainInputs;
  static constexpr int kTileWide = 4;  // 6 * 4 sums, 4 words of B and one of A fit 32 registers

  template <int kHigh, int kWide, bool kRowsApart>
  static HWY_INLINE void Tile(const uint32_t* a, const uint32_t* b, int64_t words, const TileOfC& c) {
    using A = BlockOfA<Dot, kRowsApart>;
#pragma GCC unroll 8
    for (int r = 0; r < kHigh; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < kWide; ++j) __builtin_prefetch(c.data + r * c.stride + j * 16, 1, 3);
    }
    DotSums<kHigh, kWide> sums;
    for (int64_t k = 0; k < words; ++k, a += A::kColumnStride, b += kPanel)
      sums.step([&](int r) { return a[r * A::kRowStride]; }, b);
    sums.store_to(c.data, c.stride, c.add);
  }

  static HWY_INLINE void PackPanel(const GemmMatrix& b, int64_t depth, int64_t columns, uint32_t* panel) {
    if (b.column_stride == 1) return pack_lines(b.data, b.row_stride, depth, columns, panel, kPanel);
    for (int64_t n = 0; n < columns; n += 16) {
      for (int64_t k = 0; k < depth; k += 32) {
        __m512i words[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          words[i] = n + i < columns ? pairs_of(b.data + (n + i) * b.column_stride + k, depth - k)
                                     : _mm512_setzero_si512();
        }
        transpose(words);
        const int64_t lines = std::min<int64_t>(16, (depth - k + 1) / 2);
        for (int64_t i = 0; i < lines; ++i) _mm512_store_si512(panel + (k / 2 + i) * kPanel + n, words[i]);
      }
    }
  }

  static HWY_INLINE void PackA(const GemmMatrix& a, int64_t rows, int64_t depth, uint32_t* block) {
    if (a.column_stride != 1) return pack_lines(a.data, a.column_stride, depth, rows, block, kRows);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < depth; k += 32) {
        _mm512_store_si512(block + r * (kDepth / kInputs) + k / 2,
                           pairs_of(a.data + r * a.row_stride + k, depth - k));
      }
    }
  }
};

}  // namespace

void gemm_by_instruction(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                         int64_t c_stride) {
  Product<Dot>(shape, a, b, add, c, c_stride);
}

}  // namespace fulcrum::kernels::bf16

#pragma GCC pop_options

#else

namespace fulcrum::kernels::bf16 {

void gemm_by_instruction(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                         int64_t c_stride) {
  gemm_rounded(shape, a, b, add, c, c_stride);
}

}  // namespace fulcrum::kernels::bf16
#endif
