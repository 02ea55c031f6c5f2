// How token losses become one number, exactly the same however the step is cut into micro-batches: the
// denominators are counted over the whole step in prepare(), each slice adds its share. Called by the
// objectives. Pure.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "engine/core/status.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// l is a token's loss, n_r the unmasked tokens of row r, R the rows and N the unmasked tokens of the step.
// Masked rows stay in R; `live` are the rows with n_r > 0. The first four are TRL's loss_type.
enum class Aggregation {
  kDapo,              // sum l / N
  kGrpo,              // 1/R sum_r (sum l / n_r)
  kDrGrpo,            // sum l / (R * max_completion_length)
  kBnpo,              // the token mean of each micro-batch, weighted by its share of R: depends on the cut
  kSeqMeanTokenMean,  // kGrpo over live rows only (verl, OpenRLHF)
  kSeqMeanTokenSum,   // 1/live sum l
  kSeqSumOverConst,   // sum l / max_completion_length, not divided by rows
  kMicroBatchMean,    // the token mean of each micro-batch over a fixed number of them: depends on the cut
};

// TRL's loss_type; "cispo" and "dppo_tv" are averaged as "dapo".
Result<Aggregation> parse_aggregation(std::string_view loss_type);
// loss_agg_mode: "token_mean", "seq_mean_token_mean", "seq_mean_token_mean_all_rows", "seq_mean_token_sum",
// "seq_sum_over_const" or "seq_mean_over_const".
Result<Aggregation> parse_aggregation_mode(std::string_view mode);

// Unmasked targets of the exploration or the rehearsal rows.
int64_t count_loss_tokens(const TrainBatch& batch, bool rehearsal);

// The step's denominator over its exploration or its rehearsal rows; 1 where there is nothing to divide, and
// for kMicroBatchMean, whose number of micro-batches the caller knows.
double step_denominator(Aggregation how, const TrainBatch& batch, bool rehearsal,
                        int64_t max_completion_length);

// This slice's share of the step's aggregated loss: a double scalar, differentiable. `mask_N` selects the
// unmasked targets of the rows with this `rehearsal` flag.
at::Tensor aggregate(Aggregation how, const LossInput& input, const at::Tensor& loss_N,
                     const at::Tensor& mask_N, bool rehearsal, double denominator);

}  // namespace fulcrum
