#include "engine/objective/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "engine/core/log.h"
#include "engine/objective/calibration.h"
#include "engine/objective/masked.h"

namespace fulcrum {
namespace {

bool same_tokens(const TrainBatch& batch, const BatchRow& a, const BatchRow& b) {
  return std::equal(batch.target_ids.begin() + a.target_begin, batch.target_ids.begin() + a.target_end,
                    batch.target_ids.begin() + b.target_begin, batch.target_ids.begin() + b.target_end);
}

// Which pairs have finite log-probs wherever they count.
at::Tensor finite_pairs(const LossInput& input) {
  const at::Tensor bad_N = ~(input.logps_N.detach().isfinite() & input.reference_logps_N.isfinite());
  return row_sums(input, bad_N.to(at::kDouble), input.mask_N).view({-1, 2}).sum(1) == 0;
}

std::vector<double> to_doubles(const at::Tensor& x_P) {
  const at::Tensor host = x_P.to(at::kCPU, at::kDouble).contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

}  // namespace

Status prepare_pairs(TrainBatch& batch, Metrics& metrics) {
  if (batch.num_rows() % 2 != 0) return internal_error("a batch of pairs has an odd number of rows");
  const int64_t pairs = batch.num_rows() / 2;
  batch.denominator = static_cast<double>(std::max<int64_t>(pairs, 1));
  int64_t empty = 0, identical = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    const BatchRow& won = batch.rows[static_cast<size_t>(2 * i)];
    const BatchRow& lost = batch.rows[static_cast<size_t>(2 * i + 1)];
    if (won.group != lost.group) {
      return internal_error("rows " + std::to_string(2 * i) + " and " + std::to_string(2 * i + 1) +
                            " are not a pair: their prompts differ");
    }
    empty += won.target_begin == won.target_end || lost.target_begin == lost.target_end;
    identical += same_tokens(batch, won, lost);
  }
  add_metric(metrics, "pairs/empty", static_cast<double>(empty), static_cast<double>(pairs));
  add_metric(metrics, "pairs/identical", static_cast<double>(identical), static_cast<double>(pairs));
  return ok_status();
}

at::Tensor distinct_pairs(const TrainBatch& batch) {
  const at::Tensor out_P = at::ones({batch.num_rows() / 2}, at::kBool);
  for (int64_t i = 0; i < out_P.numel(); ++i) {
    out_P.mutable_data_ptr<bool>()[i] = !same_tokens(batch, batch.rows[static_cast<size_t>(2 * i)],
                                                     batch.rows[static_cast<size_t>(2 * i + 1)]);
  }
  return out_P;
}

void mask_identical_pairs(TrainBatch& batch) {
  const at::Tensor distinct_P = distinct_pairs(batch);
  for (size_t n = 0; n < batch.target_mask.size(); ++n) {
    if (!distinct_P.const_data_ptr<bool>()[batch.target_row[n] / 2]) batch.target_mask[n] = 0;
  }
}

Result<Pairs> find_pairs(const LossInput& input) {
  if (!input.logps_N.defined() || !input.reference_logps_N.defined())
    return internal_error("the learner gave the objective no log-probs of the policy or of the reference");
  Pairs out;
  out.counts_P = finite_pairs(input);
  out.mask_N = input.mask_N;
  if (!out.counts_P.all().item<bool>()) {
    Status why = check_finite(input, input.logps_N, input.mask_N, "policy's log-prob");
    if (why.ok()) why = check_finite(input, input.reference_logps_N, input.mask_N, "reference's log-prob");
    log_warn(why.message() + "; its pair is dropped");
    out.mask_N = input.mask_N & out.counts_P.repeat_interleave(2).index_select(0, input.row_N);
  }
  // The sum of the differences, not the difference of two long sums.
  out.ratio_R =
      row_sums(input, input.logps_N.to(at::kDouble) - input.reference_logps_N.to(at::kDouble), out.mask_N);
  return out;
}

Result<at::Tensor> mean_pair_loss(const LossInput& input, const Pairs& pairs, const at::Tensor& loss_P) {
  const at::Tensor loss = keep(loss_P, pairs.counts_P).sum() / input.batch.denominator;
  if (!std::isfinite(loss.item<double>())) {
    return data_loss(
        "a pair's loss is not finite: its log-ratio to the reference is beyond the link's range; set "
        "f_exponent_cap, or a smaller beta");
  }
  return loss;
}

void add_pair_mean(Metrics& metrics, const std::string& name, const at::Tensor& x_P, const Pairs& pairs) {
  add_metric(metrics, name, keep(x_P.detach().to(at::kDouble), pairs.counts_P).sum().item<double>(),
             static_cast<double>(pairs.counts_P.sum().item<int64_t>()));
}

Status check_pairs_left(const Metrics& metrics) {
  const auto dropped = metrics.find("pairs/dropped");
  if (dropped == metrics.end() || dropped->second.count == 0 || dropped->second.mean() < 1)
    return ok_status();
  return data_loss(
      "no pair of the step is left: each has a log-prob that is not finite; the warnings name the rows");
}

void add_pair_metrics(const LossInput& input, const Pairs& pairs, const at::Tensor& reward_R,
                      const at::Tensor& reward_margin_P, Metrics& metrics) {
  const at::Tensor won_P = chosen(reward_R.detach()), lost_P = rejected(reward_R.detach());
  const at::Tensor logps_R = row_sums(input, input.logps_N.detach(), pairs.mask_N);
  const at::Tensor margin_P = reward_margin_P.detach(), right_P = margin_P > 0;  // a tie is wrong
  add_pair_mean(metrics, "rewards/chosen", won_P, pairs);
  add_pair_mean(metrics, "rewards/rejected", lost_P, pairs);
  add_pair_mean(metrics, "rewards/margins", margin_P, pairs);
  add_pair_mean(metrics, "rewards/accuracies", right_P, pairs);
  add_pair_mean(metrics, "logps/chosen", chosen(logps_R), pairs);
  add_pair_mean(metrics, "logps/rejected", rejected(logps_R), pairs);
  add_metric(metrics, "pairs/dropped", static_cast<double>((~pairs.counts_P).sum().item<int64_t>()),
             static_cast<double>(pairs.size()));
  add_calibration(to_doubles(margin_P.abs().sigmoid().masked_select(pairs.counts_P)),
                  to_doubles(right_P.masked_select(pairs.counts_P)), kCalibrationBins, metrics);
}

}  // namespace fulcrum
