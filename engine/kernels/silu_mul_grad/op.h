// The backward pass of SwiGLU's gate (engine/kernels/silu_mul) for one row. Called by policy/nn. Pure,
// thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// With s = 1 / (1 + e^-gate):  d_gate = dy up s (1 + gate (1 - s)),  d_up = dy gate s,  y = gate s up. All of
// n floats; y may be dy.
void silu_mul_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* d_gate,
                           float* d_up, float* y);

namespace reference {
void silu_mul_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* d_gate,
                           float* d_up, float* y);
}  // namespace reference

}  // namespace fulcrum::kernels
