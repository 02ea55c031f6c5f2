// The sum of the squares of numbers: of gradients and weights, for their norms. Blocks of kSquaresBlock
// numbers are summed in fp32, number i of a block in chain i mod 16 by fused multiply-adds; the blocks in
// double, in order. Called by engine/learner/adamw.cpp. Thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

inline constexpr int64_t kSquaresBlock = 1024;  // 64 additions a chain

double sum_of_squares(const float* x, int64_t n);

namespace reference {
double sum_of_squares(const float* x, int64_t n);
}  // namespace reference

}  // namespace fulcrum::kernels
