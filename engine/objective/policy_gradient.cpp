#include "engine/objective/policy_gradient.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include "engine/objective/masked.h"
#include "engine/objective/rollout_metrics.h"

namespace fulcrum {

Result<PolicyGradient> PolicyGradient::create(const PolicyGradientOptions& options) {
  TRY(kl, KlEstimate::create(options.kl_estimator, options.kl_clamp));
  return PolicyGradient(options, std::move(kl));
}

Result<PolicyGradient> PolicyGradient::create(const ObjectiveConfig& config) {
  TRY(options, policy_gradient_options(config));
  return create(options);
}

Needs PolicyGradient::needs() const {
  return {.old_logps = options_.several_updates,
          .policy_logps = options_.normalize_weights || options_.count_kept_only,
          .reference_logps = options_.beta > 0};
}

RolloutRewards PolicyGradient::rewards(TrainBatch& batch, Metrics& metrics) const {
  RolloutRewards out = rollout_rewards(batch);
  if (options_.overlong) punish_overlong(batch, *options_.overlong, out, metrics);
  mask_unusable_rows(batch, out, options_.mask_truncated, metrics);
  add_length_metrics(batch, metrics);
  return out;
}

void PolicyGradient::finish(TrainBatch& batch, Metrics& metrics) const {
  mask_undefined_advantages(batch, metrics);
  settle_weights(batch);
  settle(batch);
  add_metric(metrics, "batch/loss_tokens", static_cast<double>(count_loss_tokens(batch, false)));
}

double PolicyGradient::denominator(const TrainBatch& batch, bool rehearsal) const {
  if (options_.aggregation == Aggregation::kMicroBatchMean) return options_.micro_batches;
  return step_denominator(options_.aggregation, batch, rehearsal, options_.max_completion_length);
}

Status PolicyGradient::prepare(TrainBatch& batch, Metrics& metrics) const {
  const RolloutRewards rollouts = rewards(batch, metrics);
  const Advantages advantages = group_advantages(rollouts.rewards, rollouts.groups, options_.scale);
  set_row_advantages(batch, rollouts, advantages.values);
  add_reward_metrics(rollouts.rewards, advantages, options_.scale.by, metrics);
  finish(batch, metrics);
  return ok_status();
}

// What of the rollout correction needs all weights of the step. Their mean divides the advantages in place of
// the weights: the policy loss is homogeneous in either, and the KL carries no weight.
void PolicyGradient::settle_weights(TrainBatch& batch) const {
  if (!options_.normalize_weights && !options_.count_kept_only) return;
  LossInput input(batch);
  input.row_N = at::tensor(at::ArrayRef<int64_t>(batch.target_row), at::kLong);
  input.mask_N = at::tensor(at::ArrayRef<uint8_t>(batch.target_mask), at::kByte).to(at::kBool);
  const at::Tensor mask_N = input.mask_N & ~rehearsal_targets(input);
  const auto floats = [](const std::vector<float>& x) {
    return x.empty() ? at::Tensor() : at::tensor(at::ArrayRef<float>(x), at::kFloat);
  };
  const at::Tensor log_weight_N =
      log_rollout_weights(floats(batch.old_logps), floats(batch.sampling_logps)).log_weight_N;
  const at::Tensor weight_N =
      rollout_weights(*options_.correction, input, keep(log_weight_N, mask_N), mask_N);
  if (options_.normalize_weights) {
    const auto mean = static_cast<float>(mean_weight(weight_N, mask_N));
    for (float& advantage : batch.advantages) advantage /= mean;
  }
  if (!options_.count_kept_only) return;
  const at::Tensor dropped_N = (mask_N & (weight_N == 0)).contiguous();
  for (size_t n = 0; n < batch.target_mask.size(); ++n) {
    if (dropped_N.const_data_ptr<bool>()[n]) batch.target_mask[n] = 0;
  }
}

TokenSurrogate PolicyGradient::surrogate(const at::Tensor& logps_N, const at::Tensor& old_N,
                                         const at::Tensor& log_ratio_N,
                                         const at::Tensor& advantages_N) const {
  switch (options_.token_loss) {
    case TokenLoss::kClipped:
      return clipped_surrogate(log_ratio_N, advantages_N, options_.clip);
    case TokenLoss::kCispo:
      return cispo_surrogate(logps_N, log_ratio_N, advantages_N, options_.cispo);
    case TokenLoss::kDppoTv:
      return dppo_surrogate(logps_N, old_N, advantages_N, options_.dppo);
  }
  return {};
}

at::Tensor PolicyGradient::corrected(const LossInput& input, at::Tensor loss_N, const at::Tensor& old_N,
                                     const at::Tensor& mask_N, Metrics& metrics) const {
  if (!options_.correction && !options_.off_policy_threshold) return loss_N;
  const double tokens = mask_N.sum().item<double>();
  if (options_.off_policy_threshold) {
    // The mean of log pi_sampling - log pi: minus the log-weight of the policy as it is now.
    const at::Tensor moved_N = -log_rollout_weights(input.logps_N, input.sampling_logps_N).log_weight_N;
    const at::Tensor mean_N = at::index_select(row_means(input, moved_N, mask_N), 0, input.row_N);
    const at::Tensor kept_N = off_policy_keep(input.advantages_N, mean_N, *options_.off_policy_threshold);
    loss_N = keep(loss_N, kept_N);
    add_metric(metrics, "off_policy/masked", masked_sum(~kept_N, mask_N), tokens);
  }
  if (options_.correction) {
    const LogWeights weights = log_rollout_weights(old_N, input.sampling_logps_N);
    const at::Tensor weight_N = rollout_weights(*options_.correction, input, weights.log_weight_N, mask_N);
    loss_N = loss_N * weight_N;
    add_metric(metrics, "sampling/importance_sampling_ratio/mean", masked_sum(weight_N, mask_N), tokens);
    add_metric(metrics, "sampling/importance_sampling_ratio/dropped", masked_sum(weight_N == 0, mask_N),
               tokens);
    add_metric(metrics, "sampling/importance_sampling_ratio/missing", masked_sum(weights.missing_N, mask_N),
               tokens);
  }
  return loss_N;
}

void PolicyGradient::add_clip_metrics(const TokenSurrogate& surrogate, const at::Tensor& log_ratio_N,
                                      const at::Tensor& mask_N, Metrics& metrics) const {
  const double tokens = mask_N.sum().item<double>();
  const at::Tensor low_N = surrogate.clipped_N & (surrogate.ratio_N < 1);
  const at::Tensor high_N = surrogate.clipped_N & (surrogate.ratio_N > 1);
  add_metric(metrics, "clip_ratio/low_mean", masked_sum(low_N, mask_N), tokens);
  add_metric(metrics, "clip_ratio/high_mean", masked_sum(high_N, mask_N), tokens);
  add_metric(metrics, "clip_ratio/region_mean", masked_sum(surrogate.clipped_N, mask_N), tokens);
  if (options_.clip.dual)
    add_metric(metrics, "clip_ratio/dual_mean", masked_sum(surrogate.dual_N, mask_N), tokens);
  add_metric(metrics, "ratio/clamped", masked_sum(log_ratio_N.detach().abs() > kLogRatioBound, mask_N),
             tokens);
}

Result<LossOutput> PolicyGradient::loss(const LossInput& input) const {
  TRY(policy, policy_loss(input));
  return std::move(policy.out);
}

Result<PolicyLoss> PolicyGradient::policy_loss(const LossInput& input) const {
  const at::Tensor mask_N = input.mask_N & ~rehearsal_targets(input);
  TRY_DO(check_finite(input, input.logps_N, mask_N, "policy's log-prob"));
  TRY_DO(check_finite(input, input.advantages_N, mask_N, "advantage"));
  const at::Tensor logps_N = keep(input.logps_N, mask_N);
  at::Tensor old_N = logps_N.detach();  // on the first update of a batch the policy is the old policy
  if (input.old_logps_N.defined()) {
    TRY_DO(check_finite(input, input.old_logps_N, mask_N, "old log-prob"));
    old_N = keep(input.old_logps_N, mask_N);
  }
  PolicyLoss policy;
  LossOutput& out = policy.out;
  const at::Tensor log_ratio_N = log_ratio_at(options_.level, input, logps_N - old_N, mask_N);
  policy.surrogate = surrogate(logps_N, old_N, log_ratio_N, keep(input.advantages_N, mask_N));
  policy.loss_N = corrected(input, policy.surrogate.loss_N, old_N, mask_N, out.metrics);
  at::Tensor loss_N = policy.loss_N;
  if (options_.beta > 0) {
    TRY_DO(check_finite(input, input.reference_logps_N, mask_N, "reference's log-prob"));
    at::Tensor kl_N = kl_(logps_N - keep(input.reference_logps_N, mask_N));
    if (options_.bias_corrected_kl) kl_N = kl_N * importance_ratio(log_ratio_N);
    loss_N = loss_N + options_.beta * kl_N;
    add_metric(out.metrics, "kl", masked_sum(kl_N, mask_N), mask_N.sum().item<double>());
  }
  out.loss = aggregate(options_.aggregation, input, loss_N, mask_N, false, input.batch.denominator);
  add_clip_metrics(policy.surrogate, log_ratio_N, mask_N, out.metrics);
  return policy;
}

}  // namespace fulcrum
