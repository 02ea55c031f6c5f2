// Raw intrinsics, here and in ../gemm/op_avx512.cpp: Highway has no bf16 dot product that promises an order.
#include "engine/kernels/matmul_bf16/pairs.h"

#if defined(__x86_64__)
#include "engine/kernels/matmul_bf16/dot_sums.h"

namespace fulcrum::kernels {

bool has_bf16_dot() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
  return has;
}

namespace bf16 {
namespace {

constexpr int kTileRows = 6;
constexpr int kVectors = 4;  // of a panel: 6 * 4 sums, 4 weights and an input fit 32 registers
static_assert(kVectors * 16 == kPanelOutputs);

template <int kRows, int kLines>
FULCRUM_AVX512_BF16 void tile(const Block& b) {
  DotSums<kRows, kVectors> sums;
  const uint32_t* weights = b.weights;
  const uint16_t* x = b.x;
  const int64_t x_stride = b.x_stride;
  const uint32_t* ahead = b.ahead;
  for (int64_t p = 0; p < b.steps; ++p, x += 2, weights += kPanelOutputs, ahead += kLines * kLineWords) {
#pragma GCC unroll 2
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(ahead + i * kLineWords, 0, 2);
    sums.step([&](int r) { return pair_at(x + r * x_stride); }, weights);
  }
  sums.store_to(b.y, b.y_stride, true);
}

}  // namespace

void add_matmul_by_instruction(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w,
                               float* y, int64_t y_stride, PanelRange panels) {
  walk<kTileRows>(
      product_of(x, x_stride, rows, w, y, y_stride, panels), [](const Block& b, int64_t n, int lines) {
        with_constants<kTileRows>(n, lines, [&]<int kRows, int kLines>() { tile<kRows, kLines>(b); });
      });
}

}  // namespace bf16
}  // namespace fulcrum::kernels

#else

namespace fulcrum::kernels {

bool has_bf16_dot() { return false; }

namespace bf16 {
void add_matmul_by_instruction(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w,
                               float* y, int64_t y_stride, PanelRange panels) {
  add_matmul_widened(x, x_stride, rows, w, y, y_stride, panels);
}
}  // namespace bf16

}  // namespace fulcrum::kernels
#endif
