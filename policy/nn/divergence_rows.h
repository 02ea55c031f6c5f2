// The exact divergence over a chunk of logits, values and gradients, on LibTorch's threads: rows through the
// kernel (engine/kernels/row_divergence), the rest in double. Called by token_divergences.cpp. Pure; results
// do not depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/divergence/divergence.h"

namespace fulcrum {

// Logits over the temperature, [n, V] contiguous in fp32 or double, and the targets, int64 [n].
struct DivergenceLogits {
  at::Tensor policy_nV, reference_nV, ids_n;
};

// Written, [n] each in the type of the logits, the two lse_n in double. The log-probs are those of
// token_logps(), to the bit in fp32.
struct DivergenceValues {
  at::Tensor logps_n, lse_n, reference_logps_n, reference_lse_n, divergence_n;
};
void divergence_rows(const Divergence& divergence, const DivergenceLogits& logits,
                     const DivergenceValues& out);

struct DivergenceUpstream {
  at::Tensor lse_n, reference_lse_n;     // from divergence_rows()
  at::Tensor d_logps_n, d_divergence_n;  // over the temperature
};
// Over the policy's logits:  g (onehot(id) - pi) + h pi (f'(u) - sum pi f'(u)),  u = pi / reference, with g
// and h the upstream gradients. The reference's logits are spent.
void divergence_row_gradients(const Divergence& divergence, const DivergenceLogits& logits,
                              const DivergenceUpstream& upstream);

// The first part alone: token_logps()'s gradient, to the bit in fp32.
void row_loss_gradients_(at::Tensor& logits_nV, const at::Tensor& ids_n, const at::Tensor& lse_n,
                         const at::Tensor& d_logps_n);

}  // namespace fulcrum
