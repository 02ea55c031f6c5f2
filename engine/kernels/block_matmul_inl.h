// Products of attention's small blocks, which stay in the cache, with B and C in rows padded to 16 floats.
// Every element of C is one chain of fused multiply-adds in the order of A's columns. Included by op_cpu.cpp
// files inside Highway's loop over targets, so its guard is Highway's toggle.
#if defined(FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#undef FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#else
#define FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#endif

#include <algorithm>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

// [rows, depth], anywhere in memory.
struct BlockA {
  const float* data;
  int64_t row_stride, column_stride;
};

// Of the three dimensions of a product in attention one is keys and another queries. Query i sees the keys
// before `seen` + i + 1; what it does not see is 0 in A, or not asked for in C, and is left out tile by tile.
enum class Keys { kColumns, kDepth, kRows };
struct BlockShape {
  int64_t rows, columns, depth;  // columns are computed up to a multiple of 16
  int64_t seen;
};

template <int kRows, int kWide>
HWY_INLINE void BlockTile(const BlockA& a, int64_t depth, const float* b, int64_t b_stride, bool add,
                          float* c, int64_t c_stride) {
  constexpr int kVectors = kWide * kRowVectors;
  const Floats d;
  TileSums<kRows, kVectors> chains;
  if (add) chains.LoadFrom(c, c_stride);
  for (int64_t k = 0; k < depth; ++k, b += b_stride) {
    Vector right[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) right[j] = hn::LoadU(d, b + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector left = hn::Set(d, a.data[r * a.row_stride + k * a.column_stride]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) chains.of[r][j] = Fma(left, right[j], chains.of[r][j]);
    }
  }
  chains.StoreTo(c, c_stride);
}

// The columns from `column` on.
template <Keys kKeys, int kWide>
HWY_INLINE void BlockColumns(const BlockA& a, const BlockShape& shape, int64_t column, const float* b,
                             int64_t b_stride, bool add, float* c, int64_t c_stride) {
  constexpr int kTall = 6;  // with one 512-bit or two 256-bit vectors a row, all chains fit the registers
  int64_t row = kKeys == Keys::kColumns ? std::max<int64_t>(column - shape.seen, 0) / kTall * kTall : 0;
  const auto tiles = [&]<int kRows>() {
    for (; shape.rows - row >= kRows; row += kRows) {
      const int64_t begin = kKeys == Keys::kRows ? std::max<int64_t>(row - shape.seen, 0) : 0;
      const int64_t end =
          kKeys == Keys::kDepth ? std::min(shape.seen + row + kRows, shape.depth) : shape.depth;
      const BlockA from{a.data + row * a.row_stride + begin * a.column_stride, a.row_stride, a.column_stride};
      BlockTile<kRows, kWide>(from, end - begin, b + begin * b_stride + column, b_stride, add,
                              c + row * c_stride + column, c_stride);
    }
  };
  tiles.template operator()<kTall>();
  tiles.template operator()<2>();
  tiles.template operator()<1>();
}

// C = A B, or C += A B with `add`.
template <Keys kKeys>
HWY_INLINE void BlockMatmul(const BlockA& a, const BlockShape& shape, const float* b, int64_t b_stride,
                            bool add, float* c, int64_t c_stride) {
  const int64_t columns = round_up(shape.columns, 16);
  int64_t i = 0;
  const auto strips = [&]<int kWide>() {
    for (; i + 16 * kWide <= columns; i += 16 * kWide)
      BlockColumns<kKeys, kWide>(a, shape, i, b, b_stride, add, c, c_stride);
  };
  if constexpr (kRowVectors == 1) {  // 32 vector registers; the others have 16
    strips.template operator()<4>();
    strips.template operator()<2>();
  }
  strips.template operator()<1>();
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
