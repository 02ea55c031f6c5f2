// Products of small blocks that stay in the cache: C += A B, with B and C in rows padded to 16 floats. Every
// element of C is one chain of fused multiply-adds in the order of A's columns. Included by op_cpu.cpp files
// inside Highway's loop over targets, so its guard is Highway's toggle.
#if defined(FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#undef FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#else
#define FULCRUM_KERNELS_BLOCK_MATMUL_INL_H_
#endif

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

// [rows, depth], anywhere in memory.
struct BlockA {
  const float* data;
  int64_t row_stride, column_stride;
};
struct BlockShape {
  int64_t rows, columns, depth;  // columns are computed up to a multiple of 16
};

template <int kRows, int kWide>
HWY_INLINE void BlockTile(const BlockA& a, int64_t depth, const float* b, int64_t b_stride, float* c,
                          int64_t c_stride) {
  constexpr int kVectors = kWide * kRowVectors;
  const Floats d;
  Vector chains[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) chains[r][j] = hn::LoadU(d, c + r * c_stride + j * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k, b += b_stride) {
    Vector right[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) right[j] = hn::LoadU(d, b + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector left = hn::Set(d, a.data[r * a.row_stride + k * a.column_stride]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) chains[r][j] = Fma(left, right[j], chains[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) hn::StoreU(chains[r][j], d, c + r * c_stride + j * kLanes);
  }
}

template <int kWide>
HWY_INLINE void BlockColumns(BlockA a, int64_t rows, int64_t depth, const float* b, int64_t b_stride,
                             float* c, int64_t c_stride) {
  constexpr int kRows = 6;  // with one 512-bit or two 256-bit vectors a row, all chains fit the registers
  const auto next = [&](int64_t n) {
    a.data += n * a.row_stride;
    c += n * c_stride;
    rows -= n;
  };
  for (; rows >= kRows; next(kRows)) BlockTile<kRows, kWide>(a, depth, b, b_stride, c, c_stride);
  for (; rows >= 2; next(2)) BlockTile<2, kWide>(a, depth, b, b_stride, c, c_stride);
  if (rows > 0) BlockTile<1, kWide>(a, depth, b, b_stride, c, c_stride);
}

HWY_INLINE void BlockMatmul(const BlockA& a, const BlockShape& shape, const float* b, int64_t b_stride,
                            float* c, int64_t c_stride) {
  constexpr int kWide = kRowVectors == 1 ? 4 : 1;  // 32 vector registers, or 16
  const int64_t columns = round_up(shape.columns, 16);
  int64_t i = 0;
  for (; i + 16 * kWide <= columns; i += 16 * kWide)
    BlockColumns<kWide>(a, shape.rows, shape.depth, b + i, b_stride, c + i, c_stride);
  for (; i < columns; i += 16) BlockColumns<1>(a, shape.rows, shape.depth, b + i, b_stride, c + i, c_stride);
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
