#include "policy/nn/divergence_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>

#include <algorithm>
#include <vector>

#include "engine/divergence/row_divergence.h"
#include "engine/kernels/device/fallbacks.h"
#include "engine/kernels/row_divergence/op.h"
#include "policy/nn/device_logits.h"
#include "policy/nn/logit_rows.h"
#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

bool is_float(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }

// Log sum exp and the log-probs of the ids.
void log_normalise(const at::Tensor& logits_nV, const at::Tensor& ids_n, const at::Tensor& logps_n,
                   const at::Tensor& lse_n) {
  if (is_float(logits_nV)) {
    row_losses({logits_nV, ids_n, 1}, {logps_n, lse_n, {}});
    return;
  }
  lse_n.copy_(logits_nV.logsumexp({1}));
  logps_n.copy_(logits_nV.gather(1, ids_n.unsqueeze(1)).squeeze(1) - lse_n);
}

std::optional<kernels::RowDivergence> kernel_for(const Divergence& d, const at::Tensor& logits_nV) {
  if (!is_float(logits_nV) || !d.options()) return std::nullopt;
  return kernels::RowDivergence::find(d.name(), *d.options());
}

kernels::DivergenceRow row_of(const DivergenceLogits& logits, const at::Tensor& lse_n,
                              const at::Tensor& reference_lse_n, int64_t i) {
  const int64_t n = logits.policy_nV.size(1);
  return {logits.policy_nV.mutable_data_ptr<float>() + i * n,
          logits.reference_nV.mutable_data_ptr<float>() + i * n, n, lse_n.const_data_ptr<double>()[i],
          reference_lse_n.const_data_ptr<double>()[i]};
}

// Calls slow(rows) for each run of rows that `done` leaves out.
template <class Slow>
void for_rest(const std::vector<uint8_t>& done, Slow slow) {
  const auto n = static_cast<int64_t>(done.size());
  for (int64_t i = 0; i < n;) {
    int64_t end = i;
    while (end < n && !done[static_cast<size_t>(end)]) ++end;
    if (end > i) slow([=](const at::Tensor& x) { return x.narrow(0, i, end - i); });
    i = std::max(end, i + 1);
  }
}

// work(i) -> whether the kernel did row i; nothing is done without a kernel.
template <class Work>
std::vector<uint8_t> by_kernel(bool there, int64_t rows, Work work) {
  std::vector<uint8_t> done(static_cast<size_t>(rows), 0);
  if (there) parallel_for(rows, [&](int64_t i) { done[static_cast<size_t>(i)] = work(i); });
  if (const auto left = std::ranges::count(done, 0); left > 0)
    kernels::note_fallback(kernels::Fallback::kDivergence, left);
  return done;
}

std::vector<uint8_t> all_or_none(bool done, int64_t rows) {
  return std::vector<uint8_t>(static_cast<size_t>(rows), done ? 1 : 0);
}

}  // namespace

void divergence_rows(const Divergence& divergence, const DivergenceLogits& logits,
                     const DivergenceValues& out) {
  log_normalise(logits.policy_nV, logits.ids_n, out.logps_n, out.lse_n);
  log_normalise(logits.reference_nV, logits.ids_n, out.reference_logps_n, out.reference_lse_n);
  const int64_t rows = logits.policy_nV.size(0);
  const auto on_cpu = [&] {
    const auto kernel = kernel_for(divergence, logits.policy_nV);
    return by_kernel(kernel.has_value(), rows, [&](int64_t i) {
      const auto value = kernel->value(row_of(logits, out.lse_n, out.reference_lse_n, i));
      if (value) out.divergence_n.mutable_data_ptr<float>()[i] = static_cast<float>(*value);
      return value.has_value();
    });
  };
  const auto done = logits.policy_nV.is_cpu()
                        ? on_cpu()
                        : all_or_none(device::divergence_values(divergence, logits, out), rows);
  for_rest(done, [&](auto part) {
    const at::Tensor log_pi = part(logits.policy_nV) - part(out.lse_n).unsqueeze(1);
    const at::Tensor log_p = part(logits.reference_nV) - part(out.reference_lse_n).unsqueeze(1);
    part(out.divergence_n).copy_(row_divergence(divergence, log_pi, log_p));
  });
}

void divergence_row_gradients(const Divergence& divergence, const DivergenceLogits& logits,
                              const DivergenceUpstream& up) {
  const int64_t rows = logits.policy_nV.size(0);
  const auto on_cpu = [&] {
    const auto kernel = kernel_for(divergence, logits.policy_nV);
    return by_kernel(kernel.has_value(), rows, [&](int64_t i) {
      const kernels::DivergenceRow row = row_of(logits, up.lse_n, up.reference_lse_n, i);
      return kernel->gradient(
          row, {up.d_logps_n.const_data_ptr<float>()[i], up.d_divergence_n.const_data_ptr<float>()[i],
                logits.ids_n.const_data_ptr<int64_t>()[i]});
    });
  };
  const auto done = logits.policy_nV.is_cpu()
                        ? on_cpu()
                        : all_or_none(device::divergence_gradients(divergence, logits, up), rows);
  for_rest(done, [&](auto part) {
    at::Tensor z = part(logits.policy_nV);
    const at::Tensor log_pi = z - part(up.lse_n).unsqueeze(1);
    const at::Tensor log_p = part(logits.reference_nV) - part(up.reference_lse_n).unsqueeze(1);
    const at::Tensor through =
        row_gradient(divergence, log_pi, log_p).mul_(part(up.d_divergence_n).unsqueeze(1));
    row_loss_gradients_(z, part(logits.ids_n), part(up.lse_n), part(up.d_logps_n));
    z.add_(through);
  });
}

void row_loss_gradients_(at::Tensor& logits_nV, const at::Tensor& ids_n, const at::Tensor& lse_n,
                         const at::Tensor& d_logps_n) {
  if (is_float(logits_nV)) {
    row_loss_gradients({logits_nV, ids_n, 1}, lse_n, d_logps_n);
    return;
  }
  logits_nV.sub_(lse_n.unsqueeze(1)).exp_().mul_(d_logps_n.unsqueeze(1).neg());
  logits_nV.scatter_add_(1, ids_n.unsqueeze(1), d_logps_n.unsqueeze(1));
}

}  // namespace fulcrum
