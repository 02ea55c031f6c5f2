// The one file with raw intrinsics: Highway has no bf16 dot product that promises an order.
#include "engine/kernels/matmul_bf16/pairs.h"

#if defined(__x86_64__)
#include <immintrin.h>

// On functions, not on the file: what else this file includes must run on every machine.
#define FULCRUM_AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))

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
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) sums[r][j] = _mm512_setzero_ps();
  }
  const uint32_t* weights = b.weights;
  const uint16_t* x = b.x;
  const int64_t x_stride = b.x_stride;
  const uint32_t* ahead = b.ahead;
  for (int64_t p = 0; p < b.steps; ++p, weights += kPanelOutputs, ahead += kLines * kLineWords) {
#pragma GCC unroll 2
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(ahead + i * kLineWords, 0, 2);
    __m512bh w[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) w[j] = (__m512bh)_mm512_load_si512(weights + 16 * j);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh input = (__m512bh)_mm512_set1_epi32(static_cast<int>(pair_at(x + r * x_stride + 2 * p)));
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums[r][j] = _mm512_dpbf16_ps(sums[r][j], input, w[j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      float* y = b.y + r * b.y_stride + 16 * j;
      _mm512_storeu_ps(y, _mm512_add_ps(_mm512_loadu_ps(y), sums[r][j]));
    }
  }
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
