// The gate of SwiGLU (Shazeer, "GLU variants improve transformer", 2020, eq. 6): silu(gate) * up. Called by
// policy/decode and policy/nn. Pure, thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// y = gate / (1 + e^-gate) * up, n floats each.
void silu_mul_row(const float* gate, const float* up, int64_t n, float* y);

namespace reference {
void silu_mul_row(const float* gate, const float* up, int64_t n, float* y);
}  // namespace reference

}  // namespace fulcrum::kernels
