// The row kernel of the loss (engine/kernels/token_loss) over a chunk of logits, on LibTorch's threads.
// Called by token_logps.cpp and divergence_rows.cpp. fp32; pure; results do not depend on the number of
// threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum {

struct LogitRows {
  at::Tensor logits_nV;  // contiguous rows, before the temperature
  at::Tensor ids_n;      // int64
  double temperature = 1;
};

// Written, [n]: fp32, and lse_n in double; entropy_n may be undefined.
struct RowLosses {
  at::Tensor logps_n, lse_n, entropy_n;
};
void row_losses(const LogitRows& rows, const RowLosses& out);

// The gradient of sum coefficient_n * log-prob, over the logits.
void row_loss_gradients(const LogitRows& rows, const at::Tensor& lse_n, const at::Tensor& coefficient_n);

}  // namespace fulcrum
