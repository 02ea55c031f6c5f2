// Softmax over the vocabulary, not normalised: what the sampler draws from and the log-normaliser of the
// log-probs. Called by rollout/sampler. Pure, thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

inline constexpr int64_t kSoftmaxBlock = 256;

struct SoftmaxTotal {
  float max = 0;     // of logits / temperature
  double total = 0;  // of the weights; not finite if a logit is NaN or +infinity, or all are -infinity
};

// weights[i] = e^(logits[i]/temperature - max), and their sums over blocks of kSoftmaxBlock. weights has room
// for n rounded up to kRowAlign (0 past n); block_sums for n / kSoftmaxBlock, rounded up. A block is summed
// in sixteen chains (element i goes to chain i mod 16), then halves added; blocks are added in order, in
// double.
SoftmaxTotal softmax_weights(const float* logits, int64_t n, float temperature, float* weights,
                             double* block_sums);

namespace reference {
SoftmaxTotal softmax_weights(const float* logits, int64_t n, float temperature, float* weights,
                             double* block_sums);
}  // namespace reference

}  // namespace fulcrum::kernels
