// RLOO (arXiv 2402.14740) as TRL has it: the KL to the reference is part of the reward, a sequence at a time;
// the baseline of a completion is the mean of its group's others; one ratio for the whole completion, clipped
// as PPO's:
//   r_i <- r_i - beta sum_t (log pi_old - log pi_ref),   A_i = r_i - mean of the others,
//   L = 1/R sum_i max(-A_i s_i, -A_i clip(s_i)),   s_i = exp(sum_t log pi - log pi_old)
#include <numeric>

#include "engine/objective/kl_penalty.h"
#include "engine/objective/methods.h"
#include "engine/objective/policy_gradient.h"
#include "engine/objective/rollout_metrics.h"

namespace fulcrum {
namespace {

class Rloo final : public Objective {
 public:
  Rloo(PolicyGradient base, double beta, bool normalize)
      : base_(std::move(base)), beta_(beta), normalize_(normalize) {}

  Needs needs() const override { return with_kl_penalty(base_.needs(), beta_); }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    RolloutRewards rollouts = base_.rewards(batch, metrics);
    const std::vector<std::optional<double>> judged = rollouts.rewards;
    if (beta_ > 0) TRY_DO(subtract_kl(batch, rollouts, metrics));
    Advantages advantages =
        leave_one_out_advantages(rollouts.rewards, rollouts.groups, ScaleRewards::Single::kZero);
    add_reward_metrics(judged, advantages, ScaleRewards::By::kNone, metrics);
    if (normalize_) normalize(advantages.values, rollouts);
    set_row_advantages(batch, rollouts, advantages.values);
    base_.finish(batch, metrics);
    return ok_status();
  }

  void settle(TrainBatch& batch) const override { base_.settle(batch); }

  Result<LossOutput> loss(const LossInput& input) const override { return base_.loss(input); }

 private:
  Status subtract_kl(const TrainBatch& batch, RolloutRewards& rollouts, Metrics& metrics) const {
    double sum = 0;
    for (size_t i = 0; i < rollouts.rows.size(); ++i) {
      const BatchRow& row = batch.rows[static_cast<size_t>(rollouts.rows[i])];
      TRY(kl_T, row_kl(batch, row));
      const double kl = std::accumulate(kl_T.begin(), kl_T.end(), 0.0);
      if (rollouts.rewards[i]) *rollouts.rewards[i] -= beta_ * kl;
      sum += kl;
    }
    add_metric(metrics, "kl", sum, static_cast<double>(count_loss_tokens(batch, false)));
    return ok_status();
  }

  // (A - mean)/(std + 1e-4) over the rows of the step that have a reward: one group with TRL's scale.
  static void normalize(std::vector<double>& values, const RolloutRewards& rollouts) {
    std::vector<std::optional<double>> present;
    for (size_t i = 0; i < values.size(); ++i)
      present.push_back(rollouts.rewards[i] ? std::optional(values[i]) : std::nullopt);
    const std::vector<int64_t> one_group(values.size(), 0);
    values = group_advantages(present, one_group, {}).values;
  }

  PolicyGradient base_;
  double beta_;
  bool normalize_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_rloo(const ObjectiveConfig& config) {
  TRY(options, policy_gradient_options(config));
  options.beta = 0;  // it is in the reward
  options.level = RatioLevel::kSequenceSum;
  options.aggregation = Aggregation::kGrpo;
  TRY(base, PolicyGradient::create(options));
  return std::unique_ptr<Objective>(
      std::make_unique<Rloo>(std::move(base), config.strength(), config.surrogate.normalize_advantages));
}

}  // namespace fulcrum
