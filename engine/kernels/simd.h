// What the kernels run on. Every kernel gives the same bits on every instruction set: sums have an order that
// does not depend on the vector width, and every multiply-add is fused. Thread-safe.
#pragma once

#include <string>

namespace fulcrum::kernels {

// The instruction set chosen at run time, in Highway's words: "AVX3" (AVX-512), "AVX2", "EMU128", "NEON".
std::string simd_target();

}  // namespace fulcrum::kernels
