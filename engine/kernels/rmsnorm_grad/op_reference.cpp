#include <cmath>

#include "engine/kernels/reference_sum.h"
#include "engine/kernels/rmsnorm_grad/op.h"

namespace fulcrum::kernels::reference {
void rmsnorm_row_backward(const RmsNormRow& row, const float* dy, float* y, float* dx, float* d_weight) {
  float squares[16] = {}, products[16] = {};
  for (int64_t i = 0; i < row.n; ++i) {
    squares[i % 16] = std::fma(row.x[i], row.x[i], squares[i % 16]);
    products[i % 16] = std::fma(dy[i] * row.weight[i], row.x[i], products[i % 16]);
  }
  const auto n = static_cast<float>(row.n);
  const float r = 1.0f / std::sqrt(sum16(squares) / n + row.epsilon);
  const float mean = sum16(products) * r / n;
  for (int64_t i = 0; i < row.n; ++i) {
    const float normed = row.x[i] * r;
    dx[i] = std::fma(dy[i] * row.weight[i] - normed * mean, r, dx[i]);
    d_weight[i] = std::fma(dy[i], normed, d_weight[i]);
    y[i] = normed * row.weight[i];
  }
}

}  // namespace fulcrum::kernels::reference
