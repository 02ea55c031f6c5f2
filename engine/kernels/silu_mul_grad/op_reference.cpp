#include <cmath>

#include "engine/kernels/exp/op.h"
#include "engine/kernels/silu_mul_grad/op.h"

namespace fulcrum::kernels::reference {

void silu_mul_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* d_gate,
                           float* d_up, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const float below = 1.0f + exp(-gate[i]);
    const float s = 1.0f / below, silu = gate[i] / below, upstream = dy[i];
    d_gate[i] = upstream * up[i] * (s * std::fma(gate[i], 1.0f - s, 1.0f));
    d_up[i] = upstream * silu;
    y[i] = silu * up[i];
  }
}

}  // namespace fulcrum::kernels::reference
