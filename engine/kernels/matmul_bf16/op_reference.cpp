#include <algorithm>
#include <cmath>

#include "engine/core/half.h"
#include "engine/kernels/matmul_bf16/op.h"

namespace fulcrum::kernels::reference {

void round_row_to_bf16(const float* x, int64_t n, uint16_t* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = float_to_bf16(x[i]);
  if (n % 2 != 0) y[n] = 0;
}

void add_matmul(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w, float* y,
                int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t n = 0; n < w.outputs(); ++n) {
      const uint32_t* pairs = w.panel(n / kPanelOutputs) + n % kPanelOutputs;
      float& out = y[r * y_stride + n];
      for (int64_t begin = 0; begin < w.pairs(); begin += kBf16ChainInputs / 2) {
        const int64_t end = std::min(begin + kBf16ChainInputs / 2, w.pairs());
        float chain = 0.0f;
        for (int64_t p = begin; p < end; ++p) {
          const uint32_t pair = pairs[p * kPanelOutputs];
          const auto odd = static_cast<uint16_t>(pair >> 16), even = static_cast<uint16_t>(pair);
          const uint16_t* input = x + r * x_stride + 2 * p;
          chain = std::fma(bf16_to_float(input[1]), bf16_to_float(odd), chain);
          chain = std::fma(bf16_to_float(input[0]), bf16_to_float(even), chain);
        }
        out += chain;
      }
    }
  }
}

}  // namespace fulcrum::kernels::reference
