#include "engine/core/half.h"
#include "engine/kernels/weight_changes/op.h"

namespace fulcrum::kernels::reference {

int64_t weight_changes(const float* weights, int64_t n, uint16_t* published, WeightChange* changes) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t now = float_to_bf16(weights[i]);
    if (now == published[i]) continue;
    published[i] = now;
    changes[count++] = WeightChange{now} << 16 | static_cast<WeightChange>(i);
  }
  return count;
}

}  // namespace fulcrum::kernels::reference
