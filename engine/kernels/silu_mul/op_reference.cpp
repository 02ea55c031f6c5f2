#include "engine/kernels/exp/op.h"
#include "engine/kernels/silu_mul/op.h"

namespace fulcrum::kernels::reference {

void silu_mul_row(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + exp(-gate[i])) * up[i];
}

}  // namespace fulcrum::kernels::reference
