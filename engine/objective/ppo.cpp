// PPO (arXiv 1707.06347) with a critic, as RLHF uses it (arXiv 1909.08593): the judge's score and a KL to the
// reference as token rewards, generalised advantages, the clipped surrogate, the clipped value loss:
//   L = agg(surrogate(r, A)) + vf_coef agg(value_loss(V, R)) [+ beta agg(kl), with kl_in "loss"]
// The order is that of TRL's PPOTrainer: rewards (whitened by option), GAE, then whitened advantages; the
// returns are those before the whitening.
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "engine/objective/gae.h"
#include "engine/objective/kl_penalty.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/policy_gradient.h"
#include "engine/objective/ppo_metrics.h"
#include "engine/objective/rollout_metrics.h"
#include "engine/objective/value_loss.h"
#include "engine/objective/whiten.h"

namespace fulcrum {
namespace {

constexpr const char* kBeta = "ppo/beta";  // of the controller, in ObjectiveState

at::Tensor doubles(const std::vector<float>& x_N) {
  return at::tensor(at::ArrayRef<float>(x_N), at::kFloat).to(at::kDouble);
}

std::vector<double> to_vector(const at::Tensor& x_N) {
  const at::Tensor x = x_N.contiguous();
  return {x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel()};
}

std::vector<float> to_floats(const std::vector<double>& x) { return {x.begin(), x.end()}; }

template <class T>
std::span<const T> of_row(const std::vector<T>& x_N, const BatchRow& row) {
  return std::span(x_N).subspan(static_cast<size_t>(row.target_begin),
                                static_cast<size_t>(row.target_end - row.target_begin));
}

class Ppo final : public Objective {
 public:
  Ppo(PolicyGradient base, KlEstimate kl, const ObjectiveConfig& config)
      : base_(std::move(base)),
        kl_(std::move(kl)),
        ppo_(config.ppo),
        gamma_(config.surrogate.gamma),
        beta_(config.strength()) {}

  Needs needs() const override {
    Needs out = with_kl_penalty(base_.needs(), beta_);
    out.values = true;
    return out;
  }

  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics) const override;
  void settle(TrainBatch& batch) const override { base_.settle(batch); }
  Result<LossOutput> loss(const LossInput& input) const override;

 private:
  Status check_prepared(const TrainBatch& batch) const;
  void find_kl(const TrainBatch& batch, PpoNumbers& numbers) const;
  void find_rewards(const TrainBatch& batch, double beta, PpoNumbers& numbers) const;
  void find_advantages(TrainBatch& batch, PpoNumbers& numbers) const;
  void adapt(const PpoNumbers& numbers, double rows, double& beta) const;

  PolicyGradient base_;
  KlEstimate kl_;
  PpoConfig ppo_;
  double gamma_;
  double beta_;
};

// What the learner fetched must be finite before whitening mixes it over tokens and rows.
Status Ppo::check_prepared(const TrainBatch& batch) const {
  LossInput input(batch);
  input.row_N = at::tensor(at::ArrayRef<int64_t>(batch.target_row), at::kLong);
  const at::Tensor mask_N = at::tensor(at::ArrayRef<uint8_t>(batch.target_mask), at::kByte).to(at::kBool);
  const auto check = [&](const std::vector<float>& x_N, std::string_view what) {
    return check_finite(input, x_N.empty() ? at::Tensor() : doubles(x_N), mask_N, what);
  };
  TRY_DO(check(batch.old_values, "critic's value"));
  if (beta_ == 0) return ok_status();
  TRY_DO(check(batch.old_logps, "old log-prob"));
  return check(batch.reference_logps, "reference's log-prob");
}

void Ppo::find_kl(const TrainBatch& batch, PpoNumbers& numbers) const {
  numbers.log_ratios.assign(batch.target_ids.size(), 0.0);
  numbers.kl = numbers.log_ratios;
  if (beta_ == 0) return;
  const at::Tensor log_ratio_N = doubles(batch.old_logps) - doubles(batch.reference_logps);
  numbers.log_ratios = to_vector(log_ratio_N);
  numbers.kl = to_vector(kl_(log_ratio_N));
}

void Ppo::find_rewards(const TrainBatch& batch, double beta, PpoNumbers& numbers) const {
  const KlRewardOptions options{.beta = ppo_.kl_in == "reward" ? beta : 0,
                                .score_clip = ppo_.score_clip,
                                .missing_eos_penalty = ppo_.missing_eos_penalty.value_or(0)};
  for (const BatchRow& row : batch.rows) {
    const TokenRewards found = kl_reward(of_row(numbers.kl, row), of_row(batch.target_mask, row),
                                         {row.reward, row.truncated}, options);
    numbers.rewards.insert(numbers.rewards.end(), found.rewards.begin(), found.rewards.end());
  }
  if (ppo_.whiten_rewards)
    numbers.rewards = whiten(numbers.rewards, batch.target_mask, WhitenKind::kTrl, /*shift_mean=*/false);
}

void Ppo::find_advantages(TrainBatch& batch, PpoNumbers& numbers) const {
  const std::vector<double> values(batch.old_values.begin(), batch.old_values.end());
  std::vector<double> advantages;
  for (const BatchRow& row : batch.rows) {
    const AdvantageEstimate found = gae(of_row(numbers.rewards, row), of_row(values, row),
                                        of_row(batch.target_mask, row), {gamma_, ppo_.lam});
    advantages.insert(advantages.end(), found.advantages.begin(), found.advantages.end());
    numbers.returns.insert(numbers.returns.end(), found.returns.begin(), found.returns.end());
  }
  batch.advantages = to_floats(whiten(advantages, batch.target_mask, WhitenKind::kTrl, /*shift_mean=*/true));
  batch.returns = to_floats(numbers.returns);
}

// The KL of the sequences as they were sampled, k1 summed over tokens, moves beta for the next step.
void Ppo::adapt(const PpoNumbers& numbers, double rows, double& beta) const {
  if (!ppo_.kl_target || rows == 0) return;
  const KlController controller{.target = *ppo_.kl_target, .horizon = ppo_.kl_horizon};
  beta = controller.next(beta, numbers.sequence_kl / rows, rows);
}

Status Ppo::prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics) const {
  for (const BatchRow& row : batch.rows) {
    if (row.rehearsal)
      return internal_error("trainer ppo was given rehearsal rows: only dph_rl trains on them");
  }
  const RolloutRewards rollouts = base_.rewards(batch, metrics);
  const ScaleRewards by_batch{.by =
                                  ScaleRewards::By::kBatch};  // for the metrics; the advantages are PPO's own
  add_reward_metrics(rollouts.rewards, group_advantages(rollouts.rewards, rollouts.groups, by_batch),
                     by_batch.by, metrics);
  TRY_DO(check_prepared(batch));
  std::vector<double>& stored = state.values[kBeta];
  if (stored.size() != 1) stored = {beta_};
  const double beta = stored.front();
  batch.kl_coefficient = ppo_.kl_in == "loss" ? beta : 0;
  PpoNumbers numbers;
  find_kl(batch, numbers);
  find_rewards(batch, beta, numbers);
  find_advantages(batch, numbers);
  base_.finish(batch, metrics);
  const double rows = add_ppo_metrics(batch, beta, numbers, metrics);
  adapt(numbers, rows, stored.front());
  return ok_status();
}

Result<LossOutput> Ppo::loss(const LossInput& input) const {
  TRY(policy, base_.policy_loss(input));
  LossOutput& out = policy.out;
  const at::Tensor& mask_N = input.mask_N;
  TRY_DO(check_finite(input, input.values_N, mask_N, "critic's value"));
  TRY_DO(check_finite(input, input.returns_N, mask_N, "return"));
  const TokenValueLoss critic = value_loss(keep(input.values_N, mask_N), keep(input.old_values_N, mask_N),
                                           keep(input.returns_N, mask_N), ppo_.cliprange_value);
  const double denominator = input.batch.denominator;
  const Aggregation how = base_.aggregation();
  const double tokens = mask_N.sum().item<double>();
  add_policy_metrics(input, policy, tokens, out.metrics);
  add_metric(out.metrics, "loss/value_avg", masked_sum(critic.loss_N, mask_N), tokens);
  add_metric(out.metrics, "val/clipfrac_avg", masked_sum(critic.clipped_N, mask_N), tokens);
  out.loss = out.loss + ppo_.vf_coef * aggregate(how, input, critic.loss_N, mask_N, false, denominator);
  if (input.batch.kl_coefficient > 0) {
    const at::Tensor kl_N = kl_(keep(input.logps_N, mask_N) - keep(input.reference_logps_N, mask_N));
    out.loss =
        out.loss + input.batch.kl_coefficient * aggregate(how, input, kl_N, mask_N, false, denominator);
    add_metric(out.metrics, "kl", masked_sum(kl_N, mask_N), tokens);
  }
  return std::move(policy.out);
}

}  // namespace

Result<std::unique_ptr<Objective>> make_ppo(const ObjectiveConfig& config) {
  // In the loss k1 has an expected gradient of 0, k2 that of the reverse KL.
  const std::string by_default = config.ppo.kl_in == "loss" ? "k2" : "k1";
  TRY(estimator, parse_kl_estimator(config.kl_estimator.empty() ? by_default : config.kl_estimator));
  TRY(kl, KlEstimate::create(estimator, {config.surrogate.kl_input_clamp, config.surrogate.kl_output_clamp}));
  ObjectiveConfig shared = config;
  shared.beta = 0;  // the KL is PPO's own
  TRY(base, PolicyGradient::create(shared));
  return std::unique_ptr<Objective>(std::make_unique<Ppo>(std::move(base), std::move(kl), config));
}

}  // namespace fulcrum
