// The row functions of logit_rows.h and divergence_rows.h where the logits are not on the CPU: by the
// device's kernels, or in LibTorch's own operations where there are none. Called by logit_rows.cpp and
// divergence_rows.cpp. Pure.
#pragma once

#include "policy/nn/divergence_rows.h"
#include "policy/nn/logit_rows.h"

namespace fulcrum::device {

void row_losses(const LogitRows& rows, const RowLosses& out);
void row_loss_gradients(const LogitRows& rows, const at::Tensor& lse_n, const at::Tensor& coefficient_n);

// By the kernel alone. False, and nothing written: there is none for this divergence.
bool divergence_values(const Divergence& divergence, const DivergenceLogits& logits,
                       const DivergenceValues& out);
bool divergence_gradients(const Divergence& divergence, const DivergenceLogits& logits,
                          const DivergenceUpstream& upstream);

}  // namespace fulcrum::device
