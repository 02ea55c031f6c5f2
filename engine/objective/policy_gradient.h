// What the policy-gradient methods share: the rollouts' rewards, a token surrogate, corrections for samples
// of another policy, a KL to the reference, the averaging and the metrics. Called by grpo.cpp, rloo.cpp,
// reinforce_pp.cpp, ppo.cpp and dph_rl.cpp, which differ in their advantages and in what they add. Immutable,
// thread-safe.
#pragma once

#include <optional>

#include "engine/divergence/kl_estimators.h"
#include "engine/objective/advantages.h"
#include "engine/objective/aggregate.h"
#include "engine/objective/objective.h"
#include "engine/objective/overlong.h"
#include "engine/objective/rollout_correction.h"
#include "engine/objective/rollout_rewards.h"
#include "engine/objective/surrogate.h"

namespace fulcrum {

enum class TokenLoss { kClipped, kCispo, kDppoTv };

// The config's keys, read; a method fixes what its paper fixes.
struct PolicyGradientOptions {
  TokenLoss token_loss = TokenLoss::kClipped;
  RatioLevel level = RatioLevel::kToken;
  Aggregation aggregation = Aggregation::kDapo;
  ScaleRewards scale;
  ClipRange clip;
  RatioRange cispo;
  ProbabilityRange dppo;
  KlEstimator kl_estimator = KlEstimator::kK3;
  KlClamp kl_clamp;
  double beta = 0;
  bool bias_corrected_kl = false;
  std::optional<RolloutCorrection> correction;
  bool normalize_weights = false;  // over the step
  bool count_kept_only = false;    // tokens of weight 0 leave the means
  std::optional<double> off_policy_threshold;
  std::optional<SoftOverlong> overlong;
  bool mask_truncated = false;
  bool several_updates = false;
  int64_t max_completion_length = 1;
  double micro_batches = 1;  // of kMicroBatchMean: what a step counts as
};

Result<PolicyGradientOptions> policy_gradient_options(const ObjectiveConfig& config);

// A slice's policy loss and what it was made of.
struct PolicyLoss {
  LossOutput out;
  TokenSurrogate surrogate;
  at::Tensor loss_N;  // the policy's share of the token losses that were averaged, without the KL
};

class PolicyGradient {
 public:
  static Result<PolicyGradient> create(const PolicyGradientOptions& options);
  static Result<PolicyGradient> create(const ObjectiveConfig& config);

  Needs needs() const;
  Aggregation aggregation() const { return options_.aggregation; }

  // The three steps of a method's prepare(): rewards() judges and masks the rows; the method sets
  // batch.advantages; finish() settles what needs the whole step, `denominator` among it.
  RolloutRewards rewards(TrainBatch& batch, Metrics& metrics) const;
  void finish(TrainBatch& batch, Metrics& metrics) const;
  // Its part of Objective::settle().
  void settle(TrainBatch& batch) const { batch.denominator = denominator(batch, false); }
  double denominator(const TrainBatch& batch, bool rehearsal) const;
  // All three with group-normalised advantages (GRPO, DPH-RL).
  Status prepare(TrainBatch& batch, Metrics& metrics) const;

  // The share of the slice's exploration rows in the step's loss.
  Result<LossOutput> loss(const LossInput& input) const;
  // The same, for a method that reports on its parts.
  Result<PolicyLoss> policy_loss(const LossInput& input) const;

 private:
  PolicyGradient(const PolicyGradientOptions& options, KlEstimate kl)
      : options_(options), kl_(std::move(kl)) {}
  void settle_weights(TrainBatch& batch) const;
  TokenSurrogate surrogate(const at::Tensor& logps_N, const at::Tensor& old_N, const at::Tensor& log_ratio_N,
                           const at::Tensor& advantages_N) const;
  // The surrogate's loss as samples of another policy count.
  at::Tensor corrected(const LossInput& input, at::Tensor loss_N, const at::Tensor& old_N,
                       const at::Tensor& mask_N, Metrics& metrics) const;
  void add_clip_metrics(const TokenSurrogate& surrogate, const at::Tensor& log_ratio_N,
                        const at::Tensor& mask_N, Metrics& metrics) const;

  PolicyGradientOptions options_;
  KlEstimate kl_;
};

}  // namespace fulcrum
