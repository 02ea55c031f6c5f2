#include "policy/nn/device_logits.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "policy/nn/device_call.h"

namespace fulcrum::device {
namespace {

using kernels::DeviceKernels;
using kernels::Fallback;

kernels::LossRows loss_rows(const LogitRows& rows) {
  return {rows.logits_nV.mutable_data_ptr<float>(), rows.logits_nV.size(0), rows.logits_nV.size(1),
          static_cast<float>(rows.temperature), rows.ids_n.const_data_ptr<int64_t>()};
}

// The table's number of a divergence that the kernel takes: orders of alpha beyond 3 leave fp32's range.
std::optional<int32_t> entry_of(const Divergence& divergence) {
  if (!divergence.options() || std::abs(divergence.options()->alpha) > 3) return std::nullopt;
  int32_t entry = 0;
  for (const std::string& name : divergence_names()) {
    if (name == divergence.name()) return entry;
    ++entry;
  }
  return std::nullopt;
}

// run(kernels, rows) where the logits are fp32 and the divergence is the kernel's.
template <class Run>
bool by_divergence_kernel(const Divergence& divergence, const DivergenceLogits& logits,
                          const at::Tensor& lse_n, const at::Tensor& reference_lse_n, const Run& run) {
  const auto entry = entry_of(divergence);
  if (!entry || logits.policy_nV.scalar_type() != at::kFloat) {
    kernels::note_fallback(Fallback::kDivergence);
    return false;
  }
  return by_device_kernel(logits.policy_nV, Fallback::kDivergence,
                          [&](const DeviceKernels& k, kernels::DeviceStream stream) {
                            const kernels::DivergenceRows rows{*entry,
                                                               *divergence.options(),
                                                               logits.policy_nV.mutable_data_ptr<float>(),
                                                               logits.reference_nV.mutable_data_ptr<float>(),
                                                               logits.policy_nV.size(0),
                                                               logits.policy_nV.size(1),
                                                               lse_n.const_data_ptr<double>(),
                                                               reference_lse_n.const_data_ptr<double>()};
                            return run(k, stream, rows);
                          });
}

}  // namespace

void row_losses(const LogitRows& rows, const RowLosses& out) {
  const bool done = by_device_kernel(
      rows.logits_nV, Fallback::kTokenLoss, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.token_losses(
            loss_rows(rows), out.logps_n.mutable_data_ptr<float>(), out.lse_n.mutable_data_ptr<double>(),
            out.entropy_n.defined() ? out.entropy_n.mutable_data_ptr<float>() : nullptr, stream);
      });
  if (done) return;
  const at::Tensor z_nV = rows.temperature != 1 ? rows.logits_nV / rows.temperature : rows.logits_nV;
  // Sums below the largest logit, so that fp32 holds what is added to it in double.
  const at::Tensor max_n1 = z_nV.amax(1, true), below_nV = z_nV - max_n1;
  const at::Tensor log_total_n = below_nV.exp().sum(1).log().to(at::kDouble);
  out.lse_n.copy_(max_n1.squeeze(1).to(at::kDouble) + log_total_n);
  out.logps_n.copy_(below_nV.gather(1, rows.ids_n.unsqueeze(1)).squeeze(1).to(at::kDouble) - log_total_n);
  if (!out.entropy_n.defined()) return;
  const at::Tensor weights_nV = below_nV.exp();
  const at::Tensor products_nV = at::where(weights_nV == 0, 0.0F, weights_nV * below_nV);
  out.entropy_n.copy_(log_total_n - (products_nV.sum(1) / weights_nV.sum(1)).to(at::kDouble));
}

void row_loss_gradients(const LogitRows& rows, const at::Tensor& lse_n, const at::Tensor& coefficient_n) {
  const bool done = by_device_kernel(
      rows.logits_nV, Fallback::kTokenLoss, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.token_loss_gradients(loss_rows(rows), lse_n.const_data_ptr<double>(),
                                      coefficient_n.const_data_ptr<float>(), stream);
      });
  if (done) return;
  at::Tensor z_nV = rows.logits_nV;
  if (rows.temperature != 1) z_nV.div_(rows.temperature);
  const at::Tensor high_n = lse_n.to(at::kFloat), low_n = (lse_n - high_n.to(at::kDouble)).to(at::kFloat);
  const at::Tensor factor_n1 = (coefficient_n / rows.temperature).unsqueeze(1);
  z_nV.sub_(high_n.unsqueeze(1)).sub_(low_n.unsqueeze(1)).exp_().mul_(-factor_n1);
  z_nV.scatter_add_(1, rows.ids_n.unsqueeze(1), factor_n1);
}

bool divergence_values(const Divergence& divergence, const DivergenceLogits& logits,
                       const DivergenceValues& out) {
  return by_divergence_kernel(
      divergence, logits, out.lse_n, out.reference_lse_n,
      [&](const DeviceKernels& k, kernels::DeviceStream stream, const kernels::DivergenceRows& rows) {
        return k.divergences(rows, out.divergence_n.mutable_data_ptr<float>(), stream);
      });
}

bool divergence_gradients(const Divergence& divergence, const DivergenceLogits& logits,
                          const DivergenceUpstream& up) {
  return by_divergence_kernel(
      divergence, logits, up.lse_n, up.reference_lse_n,
      [&](const DeviceKernels& k, kernels::DeviceStream stream, const kernels::DivergenceRows& rows) {
        return k.divergence_gradients(rows, up.d_logps_n.const_data_ptr<float>(),
                                      up.d_divergence_n.const_data_ptr<float>(),
                                      logits.ids_n.const_data_ptr<int64_t>(), stream);
      });
}

}  // namespace fulcrum::device
