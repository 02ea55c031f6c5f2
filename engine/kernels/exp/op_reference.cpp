#include <bit>
#include <cmath>

#include "engine/kernels/exp/constants.h"
#include "engine/kernels/exp/op.h"

namespace fulcrum::kernels::reference {

// x = n ln 2 + r with |r| <= ln(2)/2, and e^x = 2^n e^r by Taylor's series.
float exp(float x) {
  using namespace exp_constants;
  if (std::isnan(x)) return x;
  if (x < kLow) return 0.0f;
  if (x > kHigh) x = kHigh;
  const float n = std::nearbyint(x * kLog2E);
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float p = kTaylor[0];
  for (int i = 1; i < kTerms; ++i) p = std::fma(p, r, kTaylor[i]);
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace fulcrum::kernels::reference
