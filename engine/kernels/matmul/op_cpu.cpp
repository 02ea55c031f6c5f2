#include "engine/kernels/matmul/op.h"

#include <algorithm>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/matmul/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

inline constexpr int kTileRows = 6;
// Sums that are kept in registers: AVX-512 has 32 of them, the others 16.
inline constexpr int kSums = kLanes == 16 ? 24 : 12;
inline constexpr int kPanelVectors = kPanelOutputs / kLanes;

// Of a panel, the vectors that kRows rows can keep sums for: a power of two.
constexpr int TileVectors(int rows) {
  int vectors = 1;
  while (vectors * 2 <= kPanelVectors && vectors * 2 * rows <= kSums) vectors *= 2;
  return vectors;
}

struct Block {
  const float* x;  // first row's inputs of this block
  int64_t x_stride;
  const float* weights;  // the panel's weights of this block
  int64_t depth;         // inputs
  float* y;
  int64_t y_stride;
};

template <int kRows, int kVectors>
HWY_INLINE void Tile(const Block& b, int64_t column) {
  const Floats d;
  Vector sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) sums[r][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT weights = b.weights + column;
  const float* HWY_RESTRICT x = b.x;
  const int64_t x_stride = b.x_stride;
  for (int64_t k = 0; k < b.depth; ++k, weights += kPanelOutputs) {
    Vector w[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) w[j] = hn::Load(d, weights + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector input = hn::Set(d, x[r * x_stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums[r][j] = Fma(input, w[j], sums[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      float* y = b.y + r * b.y_stride + column + j * kLanes;
      hn::StoreU(hn::Add(hn::LoadU(d, y), sums[r][j]), d, y);
    }
  }
}

template <int kRows>
HWY_INLINE void Panel(const Block& b) {
  constexpr int kVectors = TileVectors(kRows);
  for (int64_t column = 0; column < kPanelOutputs; column += kVectors * kLanes)
    Tile<kRows, kVectors>(b, column);
}

// The weights stay in the cache while the rows pass: panel by panel, block by block, tiles of rows inside.
void AddMatmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
               int64_t y_stride) {
  for (int64_t p = 0; p * kPanelOutputs < w.outputs(); ++p) {
    for (int64_t begin = 0; begin < w.inputs(); begin += kChainInputs) {
      Block b{x + begin,
              x_stride,
              w.panel(p) + begin * kPanelOutputs,
              std::min(kChainInputs, w.inputs() - begin),
              y + p * kPanelOutputs,
              y_stride};
      int64_t left = rows;
      for (; left >= kTileRows; left -= kTileRows, b.x += kTileRows * x_stride, b.y += kTileRows * y_stride) {
        Panel<kTileRows>(b);
      }
      switch (left) {
        case 1:
          Panel<1>(b);
          break;
        case 2:
          Panel<2>(b);
          break;
        case 3:
          Panel<3>(b);
          break;
        case 4:
          Panel<4>(b);
          break;
        case 5:
          Panel<5>(b);
          break;
      }
    }
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(AddMatmul);
void add_matmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
                int64_t y_stride) {
  HWY_DYNAMIC_DISPATCH(AddMatmul)(x, x_stride, rows, w, y, y_stride);
}

}  // namespace fulcrum::kernels
#endif
