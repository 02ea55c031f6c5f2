#include "engine/objective/aggregate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>

#include <algorithm>

#include "engine/core/text.h"
#include "engine/objective/masked.h"

namespace fulcrum {
namespace {

int64_t count_rows(const TrainBatch& batch, bool rehearsal) {
  return std::count_if(batch.rows.begin(), batch.rows.end(),
                       [&](const BatchRow& row) { return row.rehearsal == rehearsal; });
}

}  // namespace

int64_t count_loss_tokens(const TrainBatch& batch, bool rehearsal) {
  int64_t n = 0;
  for (const BatchRow& row : batch.rows) {
    if (row.rehearsal != rehearsal) continue;
    n += std::count(batch.target_mask.begin() + row.target_begin, batch.target_mask.begin() + row.target_end,
                    1);
  }
  return n;
}

Result<Aggregation> parse_aggregation(std::string_view loss_type) {
  if (loss_type == "dapo") return Aggregation::kDapo;
  if (loss_type == "grpo") return Aggregation::kGrpo;
  if (loss_type == "dr_grpo") return Aggregation::kDrGrpo;
  if (loss_type == "bnpo") return Aggregation::kBnpo;
  return invalid_argument("loss_type must be grpo, bnpo, dr_grpo or dapo, not " + in_quotes(loss_type));
}

double step_denominator(Aggregation how, const TrainBatch& batch, bool rehearsal,
                        int64_t max_completion_length) {
  const auto rows = static_cast<double>(count_rows(batch, rehearsal));
  double total = rows;
  if (how == Aggregation::kDapo) total = static_cast<double>(count_loss_tokens(batch, rehearsal));
  if (how == Aggregation::kDrGrpo) total = rows * static_cast<double>(max_completion_length);
  return std::max(total, 1.0);
}

at::Tensor aggregate(Aggregation how, const LossInput& input, const at::Tensor& loss_N,
                     const at::Tensor& mask_N, bool rehearsal, double denominator) {
  if (how == Aggregation::kGrpo) {
    const at::Tensor sums_R = row_sums(input, loss_N, mask_N);
    const at::Tensor counts_R = row_sums(input, mask_N, mask_N);
    return (sums_R / at::clamp(counts_R, 1.0)).sum() / denominator;
  }
  at::Tensor sum = keep(loss_N.to(at::kDouble), mask_N).sum();
  if (how == Aggregation::kBnpo) {
    const at::Tensor tokens = at::clamp(mask_N.sum().to(at::kDouble), 1.0);
    sum = sum / tokens * static_cast<double>(count_rows(input.batch, rehearsal));
  }
  return sum / denominator;
}

}  // namespace fulcrum
