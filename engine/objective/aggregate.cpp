#include "engine/objective/aggregate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>

#include <algorithm>

#include "engine/core/text.h"
#include "engine/objective/masked.h"

namespace fulcrum {
namespace {

int64_t row_tokens(const TrainBatch& batch, const BatchRow& row) {
  return std::count(batch.target_mask.begin() + row.target_begin, batch.target_mask.begin() + row.target_end,
                    1);
}

// All rows of a kind, or only those with an unmasked token.
int64_t count_rows(const TrainBatch& batch, bool rehearsal, bool live_only) {
  return std::count_if(batch.rows.begin(), batch.rows.end(), [&](const BatchRow& row) {
    return row.rehearsal == rehearsal && (!live_only || row_tokens(batch, row) > 0);
  });
}

}  // namespace

int64_t count_loss_tokens(const TrainBatch& batch, bool rehearsal) {
  int64_t n = 0;
  for (const BatchRow& row : batch.rows) {
    if (row.rehearsal == rehearsal) n += row_tokens(batch, row);
  }
  return n;
}

Result<Aggregation> parse_aggregation(std::string_view loss_type) {
  if (loss_type == "dapo" || loss_type == "cispo" || loss_type == "dppo_tv") return Aggregation::kDapo;
  if (loss_type == "grpo") return Aggregation::kGrpo;
  if (loss_type == "dr_grpo") return Aggregation::kDrGrpo;
  if (loss_type == "bnpo") return Aggregation::kBnpo;
  return invalid_argument("loss_type must be grpo, bnpo, dr_grpo, dapo, cispo or dppo_tv, not " +
                          in_quotes(loss_type));
}

Result<Aggregation> parse_aggregation_mode(std::string_view mode) {
  if (mode == "token_mean") return Aggregation::kDapo;
  if (mode == "seq_mean_token_mean") return Aggregation::kSeqMeanTokenMean;
  if (mode == "seq_mean_token_mean_all_rows") return Aggregation::kGrpo;
  if (mode == "seq_mean_token_sum") return Aggregation::kSeqMeanTokenSum;
  if (mode == "seq_sum_over_const") return Aggregation::kSeqSumOverConst;
  if (mode == "seq_mean_over_const") return Aggregation::kDrGrpo;
  return invalid_argument("unknown loss_agg_mode " + in_quotes(mode));
}

double step_denominator(Aggregation how, const TrainBatch& batch, bool rehearsal,
                        int64_t max_completion_length) {
  const auto rows = [&](bool live_only) {
    return static_cast<double>(count_rows(batch, rehearsal, live_only));
  };
  const auto constant = static_cast<double>(max_completion_length);
  double total = 1;
  switch (how) {
    case Aggregation::kDapo:
      total = static_cast<double>(count_loss_tokens(batch, rehearsal));
      break;
    case Aggregation::kGrpo:
    case Aggregation::kBnpo:
      total = rows(false);
      break;
    case Aggregation::kDrGrpo:
      total = rows(false) * constant;
      break;
    case Aggregation::kSeqMeanTokenMean:
    case Aggregation::kSeqMeanTokenSum:
      total = rows(true);
      break;
    case Aggregation::kSeqSumOverConst:
      total = constant;
      break;
    case Aggregation::kMicroBatchMean:
      break;
  }
  return std::max(total, 1.0);
}

at::Tensor aggregate(Aggregation how, const LossInput& input, const at::Tensor& loss_N,
                     const at::Tensor& mask_N, bool rehearsal, double denominator) {
  if (how == Aggregation::kGrpo || how == Aggregation::kSeqMeanTokenMean)
    return row_means(input, loss_N, mask_N).sum() / denominator;
  at::Tensor sum = keep(loss_N.to(at::kDouble), mask_N).sum();
  if (how == Aggregation::kBnpo || how == Aggregation::kMicroBatchMean) {
    sum = sum / at::clamp_min(mask_N.sum().to(at::kDouble), 1.0);
    if (how == Aggregation::kBnpo) sum = sum * static_cast<double>(count_rows(input.batch, rehearsal, false));
  }
  return sum / denominator;
}

}  // namespace fulcrum
