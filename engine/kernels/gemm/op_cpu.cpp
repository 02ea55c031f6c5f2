#include "engine/kernels/gemm/op.h"

#include <algorithm>

#include "engine/kernels/matmul/op.h"
#include "engine/kernels/matmul_bf16/op.h"
#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/gemm/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

#include "engine/kernels/gemm/blocks_inl.h"

// `lines` lines of `length` floats, from one distance to another. (A memcpy of so few bytes becomes a string
// instruction, which starts slowly.)
HWY_INLINE void CopyLines(const float* HWY_RESTRICT x, int64_t x_stride, int64_t lines, int64_t length,
                          float* HWY_RESTRICT y, int64_t y_stride) {
  const Floats d;
  for (; lines > 0; --lines, x += x_stride, y += y_stride) {
    int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes) hn::StoreU(hn::LoadU(d, x + i), d, y + i);
    for (; i < length; ++i) y[i] = x[i];
  }
}

// Four rows of four become columns.
HWY_INLINE void Transpose4(const float* x, int64_t x_stride, float* y, int64_t y_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) y[j * y_stride + i] = x[i * x_stride + j];
  }
#else
  const hn::FixedTag<float, 4> d;
  const auto r0 = hn::LoadU(d, x), r1 = hn::LoadU(d, x + x_stride);
  const auto r2 = hn::LoadU(d, x + 2 * x_stride), r3 = hn::LoadU(d, x + 3 * x_stride);
  const auto low01 = hn::InterleaveLower(d, r0, r1), low23 = hn::InterleaveLower(d, r2, r3);
  const auto high01 = hn::InterleaveUpper(d, r0, r1), high23 = hn::InterleaveUpper(d, r2, r3);
  hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, y);
  hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, y + y_stride);
  hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, y + 2 * y_stride);
  hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, y + 3 * y_stride);
#endif
}

struct Fp32 {
  using Word = float;
  static constexpr int64_t kInputs = 1, kDepth = kChainInputs;
  // AVX-512 has registers for 6 x 64 sums, the others for 6 x 16.
  static constexpr int kTileWide = kRowVectors == 1 ? 4 : 1;

  template <int kHigh, int kWide, bool kRowsApart>
  static HWY_INLINE void Tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t depth,
                              const TileOfC& c) {
    using A = BlockOfA<Fp32, kRowsApart>;
    constexpr int kVectors = kWide * kRowVectors;
    const Floats d;
#pragma GCC unroll 8
    for (int r = 0; r < kHigh; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < kWide; ++j) __builtin_prefetch(c.data + r * c.stride + j * 16, 1, 3);
    }
    TileSums<kHigh, kVectors> sums;
    for (int64_t k = 0; k < depth; ++k, a += A::kColumnStride, b += kPanel) {
      Vector right[kVectors];
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) right[j] = hn::Load(d, b + j * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kHigh; ++r) {
        const Vector left = hn::Set(d, a[r * A::kRowStride]);
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) sums.of[r][j] = Fma(left, right[j], sums.of[r][j]);
      }
    }
    if (c.add) return sums.AddTo(c.data, c.stride);
    sums.StoreTo(c.data, c.stride);
  }

  // `columns` (at most a panel) of B's block to a panel; what is missing to the next multiple of 16 is 0.
  static HWY_INLINE void PackPanel(const GemmMatrix& b, int64_t depth, int64_t columns, float* panel) {
    if (b.column_stride == 1) {
      CopyLines(b.data, b.row_stride, depth, columns, panel, kPanel);
    } else {
      const int64_t by_four = columns / 4 * 4, deep = depth / 4 * 4;
      for (int64_t n = 0; n < by_four; n += 4) {
        for (int64_t k = 0; k < deep; k += 4)
          Transpose4(b.data + n * b.column_stride + k, b.column_stride, panel + k * kPanel + n, kPanel);
      }
      for (int64_t n = 0; n < columns; ++n) {
        for (int64_t k = n < by_four ? deep : 0; k < depth; ++k)
          panel[k * kPanel + n] = b.data[n * b.column_stride + k];
      }
    }
    for (int64_t n = columns; n % 16 != 0; ++n) {
      for (int64_t k = 0; k < depth; ++k) panel[k * kPanel + n] = 0;
    }
  }

  static HWY_INLINE void PackA(const GemmMatrix& a, int64_t rows, int64_t depth, float* block) {
    if (a.column_stride == 1) {
      CopyLines(a.data, a.row_stride, rows, depth, block, BlockOfA<Fp32, true>::kRowStride);
    } else {
      CopyLines(a.data, a.column_stride, depth, rows, block, BlockOfA<Fp32, false>::kColumnStride);
    }
  }
};

HWY_INLINE void RoundToBf16(float* x, int64_t n) {
  const Floats d;
  for (int64_t i = 0; i < n; i += kLanes) hn::StoreU(hn::BitCast(d, Bf16Bits(hn::LoadU(d, x + i))), d, x + i);
}

struct Rounded : Fp32 {
  static HWY_INLINE void PackPanel(const GemmMatrix& b, int64_t depth, int64_t columns, float* panel) {
    Fp32::PackPanel(b, depth, columns, panel);
    for (int64_t k = 0; k < depth; ++k) RoundToBf16(panel + k * kPanel, round_up(columns, 16));
  }
  static HWY_INLINE void PackA(const GemmMatrix& a, int64_t rows, int64_t depth, float* block) {
    Fp32::PackA(a, rows, depth, block);
    const bool rows_apart = a.column_stride == 1;
    const int64_t lines = rows_apart ? rows : depth, stride = rows_apart ? kDepth : kRows;
    for (int64_t i = 0; i < lines; ++i) RoundToBf16(block + i * stride, stride);
  }
};

void GemmRounded(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                 int64_t c_stride) {
  Product<Rounded>(shape, a, b, add, c, c_stride);
}

void Gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride) {
  Product<Fp32>(shape, a, b, add, c, c_stride);
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(Gemm);
void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride) {
  HWY_DYNAMIC_DISPATCH(Gemm)(shape, a, b, add, c, c_stride);
}

HWY_EXPORT(GemmRounded);
void bf16::gemm_rounded(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                        int64_t c_stride) {
  HWY_DYNAMIC_DISPATCH(GemmRounded)(shape, a, b, add, c, c_stride);
}

void gemm_bf16(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
               int64_t c_stride) {
  const auto way = has_bf16_dot() ? bf16::gemm_by_instruction : bf16::gemm_rounded;
  way(shape, a, b, add, c, c_stride);
}

}  // namespace fulcrum::kernels
#endif
