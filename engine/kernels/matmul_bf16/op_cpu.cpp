#include "engine/kernels/matmul_bf16/op.h"

#include "engine/core/half.h"
#include "engine/kernels/matmul_bf16/pairs.h"
#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/matmul_bf16/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

using bf16::Block;
using bf16::pair_at;

inline constexpr int kTileRows = 4;
// Of a panel, the vectors that a tile keeps sums for: beside them stand two halves of the weights each, and
// an input; AVX-512 has 32 registers, the others 16.
inline constexpr int kVectors = kLanes == 16 ? 4 : 2;

// Both halves of every pair of weights, each an fp32 number.
template <class D, class Pairs>
HWY_INLINE void Widen(D d, Pairs pairs, hn::Vec<D>& even, hn::Vec<D>& odd) {
  const hn::RebindToUnsigned<D> du;
  even = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
  odd = hn::BitCast(d, hn::And(pairs, hn::Set(du, 0xFFFF0000u)));
}

template <int kRows, int kLines>
HWY_INLINE void Tile(const Block& b, int64_t column) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  TileSums<kRows, kVectors> sums;
  const uint32_t* HWY_RESTRICT weights = b.weights + column;
  const uint32_t* ahead = b.ahead;
  for (int64_t p = 0; p < b.steps; ++p, weights += kPanelOutputs, ahead += kLines * kLineWords) {
#pragma GCC unroll 2
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(ahead + i * kLineWords, 0, 2);
    Vector even[kVectors], odd[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) Widen(d, hn::Load(du, weights + j * kLanes), even[j], odd[j]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      Vector first, second;
      Widen(d, hn::Set(du, pair_at(b.x + r * b.x_stride + 2 * p)), first, second);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j)
        sums.of[r][j] = Fma(first, even[j], Fma(second, odd[j], sums.of[r][j]));
    }
  }
  sums.AddTo(b.y + column, b.y_stride);
}

template <int kRows, int kLines>
HWY_INLINE void Panel(const Block& b) {
  Tile<kRows, kLines>(b, 0);
  for (int64_t column = kVectors * kLanes; column < kPanelOutputs; column += kVectors * kLanes)
    Tile<kRows, 0>(b, column);
}

void AddMatmulWidened(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w, float* y,
                      int64_t y_stride, PanelRange panels) {
  walk<kTileRows>(
      bf16::product_of(x, x_stride, rows, w, y, y_stride, panels), [](const Block& b, int64_t n, int lines) {
        with_constants<kTileRows>(n, lines, [&]<int kRows, int kLines>() { Panel<kRows, kLines>(b); });
      });
}

void RoundRow(const float* x, int64_t n, uint16_t* y) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = Bf16Bits(hn::LoadU(d, x + i));
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, hn::ShiftRight<16>(bits))), d16, y + i);
  }
  for (; i < n; ++i) y[i] = float_to_bf16(x[i]);
  if (n % 2 != 0) y[n] = 0;
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(AddMatmulWidened);
void bf16::add_matmul_widened(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w,
                              float* y, int64_t y_stride, PanelRange panels) {
  HWY_DYNAMIC_DISPATCH(AddMatmulWidened)(x, x_stride, rows, w, y, y_stride, panels);
}

HWY_EXPORT(RoundRow);
void round_row_to_bf16(const float* x, int64_t n, uint16_t* y) { HWY_DYNAMIC_DISPATCH(RoundRow)(x, n, y); }

void add_matmul(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w, float* y,
                int64_t y_stride, PanelRange panels) {
  if (has_bf16_dot()) return bf16::add_matmul_by_instruction(x, x_stride, rows, w, y, y_stride, panels);
  bf16::add_matmul_widened(x, x_stride, rows, w, y, y_stride, panels);
}

}  // namespace fulcrum::kernels
#endif
