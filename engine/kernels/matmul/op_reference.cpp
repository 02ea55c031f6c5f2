#include <algorithm>
#include <cmath>

#include "engine/kernels/matmul/op.h"

namespace fulcrum::kernels::reference {

void add_matmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
                int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t n = 0; n < w.outputs(); ++n) {
      const float* weights = w.panel(n / kPanelOutputs) + n % kPanelOutputs;
      float& out = y[r * y_stride + n];
      for (int64_t begin = 0; begin < w.inputs(); begin += kChainInputs) {
        const int64_t end = std::min(begin + kChainInputs, w.inputs());
        float chain = 0.0f;
        for (int64_t k = begin; k < end; ++k)
          chain = std::fma(x[r * x_stride + k], weights[k * kPanelOutputs], chain);
        out += chain;
      }
    }
  }
}

}  // namespace fulcrum::kernels::reference
