#include <cmath>

#include "engine/kernels/adamw/op.h"

namespace fulcrum::kernels::reference {

void adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
           float* second) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = step.gradient_scale * gradient[i];
    first[i] = std::fma(step.beta1, first[i], (1 - step.beta1) * g);
    second[i] = std::fma(step.beta2, second[i], (1 - step.beta2) * g * g);
    const float slope = first[i] / (std::sqrt(second[i]) / step.root + step.epsilon);
    weights[i] = std::fma(-step.rate, slope, step.kept * weights[i]);
  }
}

}  // namespace fulcrum::kernels::reference
