// RMSNorm of one row (Zhang and Sennrich, "Root mean square layer normalization", 2019, eq. 4, with epsilon
// inside the root as in the Llama code). Called by policy/decode and policy/nn. Pure, thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// y = x / sqrt(mean(x^2) + epsilon) * weight, n floats each. The sum of squares: sixteen chains of fused
// multiply-adds (element i goes to chain i mod 16), then halves added. x and y may be the same.
void rmsnorm_row(const float* x, const float* weight, int64_t n, float epsilon, float* y);

namespace reference {
void rmsnorm_row(const float* x, const float* weight, int64_t n, float epsilon, float* y);
}  // namespace reference

}  // namespace fulcrum::kernels
