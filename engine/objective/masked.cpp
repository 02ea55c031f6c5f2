#include "engine/objective/masked.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

namespace fulcrum {

at::Tensor keep(const at::Tensor& x_N, const at::Tensor& mask_N) {
  return at::where(mask_N, x_N, at::zeros_like(x_N));
}

Status check_finite(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N,
                    std::string_view what) {
  if (!x_N.defined()) return internal_error("the learner gave the objective no " + std::string(what) + "s");
  const at::Tensor bad = (mask_N & ~x_N.detach().isfinite()).nonzero();
  if (bad.size(0) == 0) return ok_status();
  const int64_t n = bad[0][0].item<int64_t>();
  const int64_t r = input.row_N[n].item<int64_t>();
  const BatchRow& row = input.batch.rows[static_cast<size_t>(r)];
  const double value = x_N[n].item<double>();
  const std::string shown = std::isnan(value) ? "NaN" : value > 0 ? "inf" : "-inf";
  return data_loss("the " + std::string(what) + " of token " + std::to_string(n - row.target_begin) +
                   " of a completion of prompt row " + std::to_string(row.prompt_row) + " is " + shown +
                   ": a token outside the vocabulary, or a model that has diverged");
}

at::Tensor rehearsal_targets(const LossInput& input) {
  std::vector<uint8_t> flags;
  for (const BatchRow& row : input.batch.rows) flags.push_back(row.rehearsal);
  const at::Tensor per_row =
      at::tensor(at::ArrayRef<uint8_t>(flags), at::kByte).to(input.row_N.device(), at::kBool);
  return at::index_select(per_row, 0, input.row_N);
}

at::Tensor row_sums(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N) {
  const at::Tensor zeros =
      at::zeros({input.batch.num_rows()}, x_N.options().dtype(at::kDouble).requires_grad(false));
  return zeros.index_add(0, input.row_N, keep(x_N.to(at::kDouble), mask_N));
}

at::Tensor row_means(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N) {
  return row_sums(input, x_N, mask_N) / at::clamp_min(row_sums(input, mask_N, mask_N), 1.0);
}

double masked_sum(const at::Tensor& x_N, const at::Tensor& mask_N) {
  return keep(x_N.detach().to(at::kDouble), mask_N).sum().item<double>();
}

}  // namespace fulcrum
