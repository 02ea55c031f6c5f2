// The backward pass of RMSNorm (engine/kernels/rmsnorm) for one row, which needs nothing kept but the row.
// Called by policy/nn. Pure, thread-safe on disjoint outputs.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

struct RmsNormRow {
  const float* x = nullptr;       // [n]
  const float* weight = nullptr;  // [n]
  int64_t n = 0;
  float epsilon = 0;
};

// With r = 1 / sqrt(mean(x^2) + epsilon) and g = dy weight:  dx += r (g - x r mean(g x r)),
// d_weight += dy x r.  y: the row's output again, x r weight. Sums have sixteen chains, as in the forward
// pass.
void rmsnorm_row_backward(const RmsNormRow& row, const float* dy, float* y, float* dx, float* d_weight);

namespace reference {
void rmsnorm_row_backward(const RmsNormRow& row, const float* dy, float* y, float* dx, float* d_weight);
}  // namespace reference

}  // namespace fulcrum::kernels
