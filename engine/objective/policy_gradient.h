// The clipped surrogate that GRPO and DPH-RL share: advantages and masks of the exploration rows, PPO's token
// loss, a KL to the reference, TRL's loss types and metrics. Called by grpo.cpp and dph_rl.cpp. Immutable,
// thread-safe.
#pragma once

#include <optional>

#include "engine/divergence/kl_estimators.h"
#include "engine/objective/advantages.h"
#include "engine/objective/aggregate.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// The token loss of PPO (arXiv 1707.06347, equation 7) with asymmetric clipping (DAPO, arXiv 2503.14476) and
// TRL's optional bound `delta` on the unclipped branch:
//   max(-A min(r, delta), -A clip(r, 1 - epsilon_low, 1 + epsilon_high)),
//   r = exp(min(log_ratio, 20))
struct ClipRange {
  double low = 0.2, high = 0.2;
  std::optional<double> delta;
};
struct TokenSurrogate {
  at::Tensor loss_N, ratio_N;
};
TokenSurrogate clipped_surrogate(const at::Tensor& log_ratio_N, const at::Tensor& advantages_N,
                                 const ClipRange& clip);

// Above it the log-ratio is cut, which also ends the gradient; hits are counted in `ratio/clamped`. Below
// nothing needs a bound: a vanishing ratio is harmless.
inline constexpr double kLogRatioBound = 20;

class PolicyGradient {
 public:
  static Result<PolicyGradient> create(const ObjectiveConfig& config);

  Needs needs() const;
  Aggregation aggregation() const { return aggregation_; }
  int64_t max_completion_length() const { return max_completion_length_; }

  // Masks of rows without a reward and (by option) truncated rows, advantages, `denominator`, rollout
  // metrics.
  Status prepare(TrainBatch& batch, Metrics& metrics) const;
  // The share of the slice's exploration rows in the step's surrogate loss.
  Result<LossOutput> loss(const LossInput& input) const;

 private:
  PolicyGradient(KlEstimate kl) : kl_(std::move(kl)) {}
  void add_clip_metrics(const LossInput& input, const TokenSurrogate& surrogate,
                        const at::Tensor& log_ratio_N, const at::Tensor& mask_N, Metrics& metrics) const;

  Aggregation aggregation_ = Aggregation::kDapo;
  ScaleRewards scale_ = ScaleRewards::kGroup;
  ClipRange clip_;
  KlEstimate kl_;
  double beta_ = 0;
  bool mask_truncated_ = false;
  bool needs_old_logps_ = false;
  int64_t max_completion_length_ = 1;
};

}  // namespace fulcrum
