#include <cmath>

#include "engine/kernels/rope/op.h"

namespace fulcrum::kernels::reference {

void rope_row(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines) {
  const int64_t half = head_dim / 2;
  for (int64_t h = 0; h < heads; ++h, x += head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = std::fma(a, cosines[i], -(b * sines[i]));
      x[i + half] = std::fma(b, cosines[i], a * sines[i]);
    }
  }
}

}  // namespace fulcrum::kernels::reference
