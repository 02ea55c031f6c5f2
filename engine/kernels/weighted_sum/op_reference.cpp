#include <cmath>

#include "engine/kernels/weighted_sum/op.h"

namespace fulcrum::kernels::reference {

bool weighted_sum(std::span<const WeightedInput> inputs, int64_t n, float* out) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t m = 0; m < inputs.size(); ++m) {
      const double product = inputs[m].weight * static_cast<double>(inputs[m].x[i]);
      sum = m == 0 ? product : sum + product;
      finite = finite && std::isfinite(inputs[m].x[i]);
    }
    out[i] = static_cast<float>(sum);
    finite = finite && std::isfinite(out[i]);
  }
  return finite;
}

}  // namespace fulcrum::kernels::reference
