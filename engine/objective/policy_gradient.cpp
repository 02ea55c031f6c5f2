#include "engine/objective/policy_gradient.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "engine/objective/masked.h"
#include "engine/objective/rollout_metrics.h"

namespace fulcrum {

TokenSurrogate clipped_surrogate(const at::Tensor& log_ratio_N, const at::Tensor& advantages_N,
                                 const ClipRange& clip) {
  const at::Tensor ratio = at::clamp_max(log_ratio_N, kLogRatioBound).exp();
  const at::Tensor bounded = clip.delta ? at::clamp_max(ratio, *clip.delta) : ratio;
  const at::Tensor unclipped = -advantages_N * bounded;
  const at::Tensor clipped = -advantages_N * at::clamp(ratio.detach(), 1 - clip.low, 1 + clip.high);
  // On a tie the inside branch holds, with its gradient; at::max would give half of it.
  return {at::where(unclipped >= clipped, unclipped, clipped), ratio.detach()};
}

Result<PolicyGradient> PolicyGradient::create(const ObjectiveConfig& config) {
  TRY(estimator, parse_kl_estimator(config.kl_estimator.empty() ? "k3" : config.kl_estimator));
  TRY(kl, KlEstimate::create(estimator));
  PolicyGradient made(std::move(kl));
  TRY(aggregation, parse_aggregation(config.loss_type));
  TRY(scale, parse_scale_rewards(config.scale_rewards));
  made.aggregation_ = aggregation;
  made.scale_ = scale;
  made.clip_ = {config.epsilon, config.epsilon_high.value_or(config.epsilon), config.delta};
  if (made.clip_.low >= 1)
    return invalid_argument("epsilon must be below 1: the lower clip bound is 1 - epsilon");
  if (made.clip_.delta && *made.clip_.delta <= 1 + made.clip_.high) {
    return invalid_argument("delta must be above 1 + epsilon_high, or the clip range never acts");
  }
  made.beta_ = config.beta.value_or(0);
  made.mask_truncated_ = config.mask_truncated_completions;
  made.needs_old_logps_ = config.num_iterations > 1;
  made.max_completion_length_ = config.max_completion_length;
  return made;
}

Needs PolicyGradient::needs() const { return {.old_logps = needs_old_logps_, .reference_logps = beta_ > 0}; }

Status PolicyGradient::prepare(TrainBatch& batch, Metrics& metrics) const {
  std::vector<std::optional<double>> rewards;
  std::vector<int64_t> groups, rows;
  for (int64_t r = 0; r < batch.num_rows(); ++r) {
    const BatchRow& row = batch.rows[static_cast<size_t>(r)];
    if (row.rehearsal) continue;
    rewards.push_back(row.has_reward ? std::optional(row.reward) : std::nullopt);
    groups.push_back(row.group);
    rows.push_back(r);
  }
  const Advantages advantages = group_advantages(rewards, groups, scale_);
  batch.advantages.assign(static_cast<size_t>(batch.num_targets()), 0.0F);
  int64_t masked_truncated = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const BatchRow& row = batch.rows[static_cast<size_t>(rows[i])];
    std::fill(batch.advantages.begin() + row.target_begin, batch.advantages.begin() + row.target_end,
              static_cast<float>(advantages.values[i]));
    const bool truncated = mask_truncated_ && row.truncated;
    masked_truncated += truncated;
    // Truncated rows keep their reward in the group's mean, as in TRL.
    if (truncated || !rewards[i].has_value() || !std::isfinite(*rewards[i])) {
      std::fill(batch.target_mask.begin() + row.target_begin, batch.target_mask.begin() + row.target_end, 0);
    }
  }
  batch.denominator = step_denominator(aggregation_, batch, false, max_completion_length_);
  add_metric(metrics, "batch/loss_tokens", static_cast<double>(count_loss_tokens(batch, false)));
  add_reward_metrics(rewards, advantages, scale_, metrics);
  add_length_metrics(batch, metrics);
  if (mask_truncated_) {
    add_metric(metrics, "completions/masked_truncated", static_cast<double>(masked_truncated),
               static_cast<double>(rows.size()));
  }
  return ok_status();
}

void PolicyGradient::add_clip_metrics(const LossInput& input, const TokenSurrogate& surrogate,
                                      const at::Tensor& log_ratio_N, const at::Tensor& mask_N,
                                      Metrics& metrics) const {
  const double tokens = mask_N.sum().item<double>();
  const at::Tensor& advantages = input.advantages_N;
  const at::Tensor low = (surrogate.ratio_N < 1 - clip_.low) & (advantages < 0);
  const at::Tensor high = (surrogate.ratio_N > 1 + clip_.high) & (advantages > 0);
  add_metric(metrics, "clip_ratio/low_mean", masked_sum(low, mask_N), tokens);
  add_metric(metrics, "clip_ratio/high_mean", masked_sum(high, mask_N), tokens);
  add_metric(metrics, "clip_ratio/region_mean", masked_sum(low | high, mask_N), tokens);
  add_metric(metrics, "ratio/clamped", masked_sum(log_ratio_N.detach() > kLogRatioBound, mask_N), tokens);
}

Result<LossOutput> PolicyGradient::loss(const LossInput& input) const {
  const at::Tensor mask_N = input.mask_N & ~rehearsal_targets(input);
  TRY_DO(check_finite(input, input.logps_N, mask_N, "policy's log-prob"));
  TRY_DO(check_finite(input, input.advantages_N, mask_N, "advantage"));
  const at::Tensor logps_N = keep(input.logps_N, mask_N);
  at::Tensor old_N = logps_N.detach();  // on the first update of a batch the policy is the old policy
  if (input.old_logps_N.defined()) {
    TRY_DO(check_finite(input, input.old_logps_N, mask_N, "old log-prob"));
    old_N = keep(input.old_logps_N, mask_N);
  }
  LossOutput out;
  const at::Tensor log_ratio_N = logps_N - old_N;
  const TokenSurrogate surrogate = clipped_surrogate(log_ratio_N, keep(input.advantages_N, mask_N), clip_);
  at::Tensor loss_N = surrogate.loss_N;
  if (beta_ > 0) {
    TRY_DO(check_finite(input, input.reference_logps_N, mask_N, "reference's log-prob"));
    const at::Tensor kl_N = kl_(logps_N - keep(input.reference_logps_N, mask_N));
    loss_N = loss_N + beta_ * kl_N;
    add_metric(out.metrics, "kl", masked_sum(kl_N, mask_N), mask_N.sum().item<double>());
  }
  out.loss = aggregate(aggregation_, input, loss_N, mask_N, false, input.batch.denominator);
  add_clip_metrics(input, surrogate, log_ratio_N, mask_N, out.metrics);
  return out;
}

}  // namespace fulcrum
