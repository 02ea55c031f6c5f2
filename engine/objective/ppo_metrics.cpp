#include "engine/objective/ppo_metrics.h"

#include <ATen/TensorOperators.h>

#include "engine/objective/masked.h"

namespace fulcrum {
namespace {

// Welford's update (Technometrics 4(3), 1962): a spread keeps its digits far from 0.
struct Moments {
  double n = 0, mean = 0, squares = 0;  // of the distances to the mean
  void add(double x) {
    n += 1;
    const double step = x - mean;
    mean += step / n;
    squares += step * (x - mean);
  }
  double variance() const { return n == 0 ? 0 : squares / n; }
};

// 1 - Var(R - V) / Var(R): 1 for a critic that knows the returns, 0 for one that knows their mean.
void add_explained_variance(const TrainBatch& batch, const PpoNumbers& numbers, Metrics& metrics) {
  Moments returns, errors;
  for (size_t i = 0; i < batch.target_mask.size(); ++i) {
    if (batch.target_mask[i] == 0) continue;
    returns.add(numbers.returns[i]);
    errors.add(numbers.returns[i] - static_cast<double>(batch.old_values[i]));
  }
  if (returns.variance() > 0)
    add_metric(metrics, "val/explained_variance", 1 - errors.variance() / returns.variance());
}

}  // namespace

double add_ppo_metrics(const TrainBatch& batch, double beta, PpoNumbers& numbers, Metrics& metrics) {
  double rows = 0, scores = 0, penalty = 0, entropy = 0;
  for (const BatchRow& row : batch.rows) {
    bool counts = false;
    for (auto i = static_cast<size_t>(row.target_begin); i < static_cast<size_t>(row.target_end); ++i) {
      if (batch.target_mask[i] == 0) continue;
      counts = true;
      numbers.sequence_kl += numbers.log_ratios[i];
      penalty += beta * numbers.kl[i];
      if (!batch.old_logps.empty()) entropy -= static_cast<double>(batch.old_logps[i]);
    }
    if (!counts) continue;
    rows += 1;
    scores += row.reward;
  }
  add_metric(metrics, "objective/scores", scores, rows);
  add_metric(metrics, "objective/non_score_reward", -penalty, rows);
  add_metric(metrics, "objective/rlhf_reward", scores - penalty, rows);
  add_metric(metrics, "objective/kl_coef", beta);
  if (!batch.reference_logps.empty()) add_metric(metrics, "objective/kl", numbers.sequence_kl, rows);
  if (!batch.old_logps.empty()) add_metric(metrics, "objective/entropy", entropy, rows);
  add_explained_variance(batch, numbers, metrics);
  return rows;
}

void add_policy_metrics(const LossInput& input, const PolicyLoss& policy, double tokens, Metrics& metrics) {
  const at::Tensor& mask_N = input.mask_N;
  const auto add = [&](const std::string& name, const at::Tensor& x_N) {
    add_metric(metrics, name, masked_sum(x_N, mask_N), tokens);
  };
  const at::Tensor old_N = input.old_logps_N.defined() ? input.old_logps_N : input.logps_N;
  const at::Tensor log_ratio_N = keep(input.logps_N - old_N, mask_N);
  add("loss/policy_avg", policy.loss_N);
  add("policy/approxkl_avg", 0.5 * log_ratio_N * log_ratio_N);
  add("policy/clipfrac_avg", policy.surrogate.clipped_N);
  add("val/ratio", policy.surrogate.ratio_N);
}

}  // namespace fulcrum
