#include "engine/kernels/matmul/op.h"

#include <algorithm>

#include "engine/kernels/matmul_blocks.h"
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

using Block = kernels::Block<float, float>;

template <int kRows, int kVectors, int kLines>
HWY_INLINE void Tile(const Block& b, int64_t column) {
  const Floats d;
  TileSums<kRows, kVectors> sums;
  const float* HWY_RESTRICT weights = b.weights + column;
  const float* HWY_RESTRICT x = b.x;
  const int64_t x_stride = b.x_stride;
  const float* ahead = b.ahead;
  for (int64_t k = 0; k < b.steps; ++k, weights += kPanelOutputs, ahead += kLines * kLineWords) {
#pragma GCC unroll 2
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(ahead + i * kLineWords, 0, 2);
    Vector w[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) w[j] = hn::Load(d, weights + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector input = hn::Set(d, x[r * x_stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums.of[r][j] = Fma(input, w[j], sums.of[r][j]);
    }
  }
  sums.AddTo(b.y + column, b.y_stride);
}

template <int kRows, int kLines>
HWY_INLINE void Panel(const Block& b) {
  constexpr int kVectors = TileVectors(kRows);
  Tile<kRows, kVectors, kLines>(b, 0);
  for (int64_t column = kVectors * kLanes; column < kPanelOutputs; column += kVectors * kLanes)
    Tile<kRows, kVectors, 0>(b, column);
}

void AddMatmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
               int64_t y_stride, PanelRange panels) {
  const Product<float, float> product{.all = {x, x_stride, w.panel(0), w.inputs(), y, y_stride, nullptr},
                                      .rows = rows,
                                      .first = panels.begin * kPanelOutputs,
                                      .outputs = std::min(w.outputs(), panels.end * kPanelOutputs),
                                      .block_steps = kChainInputs,
                                      .inputs_of_step = 1};
  walk<kTileRows>(product, [](const Block& b, int64_t n, int lines) {
    with_constants<kTileRows>(n, lines, [&]<int kRows, int kLines>() { Panel<kRows, kLines>(b); });
  });
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(AddMatmul);
void add_matmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
                int64_t y_stride, PanelRange panels) {
  HWY_DYNAMIC_DISPATCH(AddMatmul)(x, x_stride, rows, w, y, y_stride, panels);
}

}  // namespace fulcrum::kernels
#endif
