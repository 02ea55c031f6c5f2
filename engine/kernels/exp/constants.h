// The constants of exp, one text for the vector code and the reference.
#pragma once

namespace fulcrum::kernels::exp_constants {

inline constexpr float kHigh = 88.0f;  // above: e^88, near the largest float
inline constexpr float kLow = -87.0f;  // below: 0; e^-87 is still a normal number
inline constexpr float kLog2E = 0x1.715476p+0f;
// ln 2 in two parts; the first has 17 bits, so n * kLn2High is exact for |n| < 128.
inline constexpr float kLn2High = 0x1.62e4p-1f;
inline constexpr float kLn2Low = 0x1.7f7d1cp-20f;
// 1/7! ... 1/1!, 1/0!: on |r| <= ln(2)/2 the first term left out is below 2^-27 of the result.
inline constexpr int kTerms = 8;
inline constexpr float kTaylor[kTerms] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                          1.0f / 6,    1.0f / 2,   1.0f,       1.0f};

}  // namespace fulcrum::kernels::exp_constants
