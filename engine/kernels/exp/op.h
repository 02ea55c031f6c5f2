// e^x in fp32 to 1 ulp, with the same bits on every machine (libm's exp promises neither). Used inside
// attention, silu_mul and softmax; as an operation of its own, by tests. Pure, thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// y[i] = e^x[i]. x > 88 counts as 88, x < -87 gives 0, NaN stays NaN. x and y may be the same.
void exp_row(const float* x, int64_t n, float* y);

namespace reference {
float exp(float x);
}  // namespace reference

}  // namespace fulcrum::kernels
