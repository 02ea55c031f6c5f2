#include <cmath>

#include "engine/kernels/reference_sum.h"
#include "engine/kernels/rmsnorm/op.h"

namespace fulcrum::kernels::reference {

void rmsnorm_row(const float* x, const float* weight, int64_t n, float epsilon, float* y) {
  float chains[16] = {};
  for (int64_t i = 0; i < n; ++i) chains[i % 16] = std::fma(x[i], x[i], chains[i % 16]);
  const float scale = 1.0f / std::sqrt(sum16(chains) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

}  // namespace fulcrum::kernels::reference
