#include "policy/nn/logit_rows.h"

#include "engine/kernels/token_loss/op.h"
#include "policy/nn/device_logits.h"
#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

// work(i, row) for every row.
template <class Work>
void for_each_row(const LogitRows& rows, Work work) {
  const int64_t n = rows.logits_nV.size(0), vocabulary = rows.logits_nV.size(1);
  auto* logits = rows.logits_nV.mutable_data_ptr<float>();
  const int64_t* ids = rows.ids_n.const_data_ptr<int64_t>();
  const auto row = [&](int64_t i) {
    return kernels::LogitsRow{logits + i * vocabulary, vocabulary, static_cast<float>(rows.temperature),
                              static_cast<int32_t>(ids[i])};
  };
  for_row_blocks(n, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(i, row(i));
  });
}

}  // namespace

void row_losses(const LogitRows& rows, const RowLosses& out) {
  if (!rows.logits_nV.is_cpu()) return device::row_losses(rows, out);
  float* logps = out.logps_n.mutable_data_ptr<float>();
  double* lse = out.lse_n.mutable_data_ptr<double>();
  float* entropy = out.entropy_n.defined() ? out.entropy_n.mutable_data_ptr<float>() : nullptr;
  for_each_row(rows, [=](int64_t i, const kernels::LogitsRow& row) {
    const kernels::TokenLoss loss = kernels::token_loss(row, entropy != nullptr);
    logps[i] = loss.logp;
    lse[i] = loss.lse;
    if (entropy != nullptr) entropy[i] = loss.entropy;
  });
}

void row_loss_gradients(const LogitRows& rows, const at::Tensor& lse_n, const at::Tensor& coefficient_n) {
  if (!rows.logits_nV.is_cpu()) return device::row_loss_gradients(rows, lse_n, coefficient_n);
  const double* lse = lse_n.const_data_ptr<double>();
  const float* coefficient = coefficient_n.const_data_ptr<float>();
  for_each_row(rows, [=](int64_t i, const kernels::LogitsRow& row) {
    kernels::token_loss_backward(row, lse[i], coefficient[i]);
  });
}

}  // namespace fulcrum
