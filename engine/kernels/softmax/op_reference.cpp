#include <algorithm>
#include <limits>

#include "engine/kernels/aligned.h"
#include "engine/kernels/exp/op.h"
#include "engine/kernels/reference_sum.h"
#include "engine/kernels/softmax/op.h"

namespace fulcrum::kernels::reference {

SoftmaxTotal softmax_weights(const float* logits, int64_t n, float temperature, float* weights,
                             double* block_sums) {
  SoftmaxTotal result{-std::numeric_limits<float>::infinity(), 0.0};
  for (int64_t i = 0; i < n; ++i) result.max = std::max(result.max, logits[i] / temperature);
  for (int64_t begin = 0; begin < n; begin += kSoftmaxBlock) {
    float chains[16] = {};
    for (int64_t i = begin; i < std::min(begin + kSoftmaxBlock, n); ++i) {
      weights[i] = exp(logits[i] / temperature - result.max);
      chains[i % 16] += weights[i];
    }
    block_sums[begin / kSoftmaxBlock] = sum16(chains);
    result.total += block_sums[begin / kSoftmaxBlock];
  }
  for (int64_t i = n; i < round_up(n, kRowAlign); ++i) weights[i] = 0.0f;
  return result;
}

}  // namespace fulcrum::kernels::reference
