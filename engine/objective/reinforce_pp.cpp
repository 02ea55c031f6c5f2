// REINFORCE++ (arXiv 2501.03262) and its baseline variant, over PPO's clipped surrogate. Both whiten over the
// unmasked tokens of the step, so that prompts need no group.
//   reinforce_pp:           r_t = -beta k1_t, and the score at the last token; A = whiten(sum_s gamma^(s-t)
//   r_s) reinforce_pp_baseline:  A = whiten(score - the group's mean) on every token; the KL is a term of the
//   loss
#include <algorithm>

#include "engine/objective/kl_penalty.h"
#include "engine/objective/methods.h"
#include "engine/objective/policy_gradient.h"
#include "engine/objective/reward_to_go.h"
#include "engine/objective/rollout_metrics.h"
#include "engine/objective/whiten.h"

namespace fulcrum {
namespace {

// OpenRLHF's init_kl_coef.
void whiten_advantages(TrainBatch& batch, std::span<const double> values) {
  const std::vector<double> white = whiten(values, batch.target_mask, WhitenKind::kOpenRlhf, true);
  batch.advantages.assign(white.begin(), white.end());
}

class ReinforcePp final : public Objective {
 public:
  ReinforcePp(PolicyGradient base, double beta, double gamma)
      : base_(std::move(base)), beta_(beta), gamma_(gamma) {}

  Needs needs() const override { return with_kl_penalty(base_.needs(), beta_); }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    const RolloutRewards rollouts = base_.rewards(batch, metrics);
    // The advantages below are not of the group; the metrics of rewards are.
    add_reward_metrics(rollouts.rewards, group_advantages(rollouts.rewards, rollouts.groups, {}),
                       ScaleRewards::By::kGroup, metrics);
    std::vector<double> returns(static_cast<size_t>(batch.num_targets()), 0.0);
    double kl_sum = 0;
    for (size_t i = 0; i < rollouts.rows.size(); ++i) {
      const BatchRow& row = batch.rows[static_cast<size_t>(rollouts.rows[i])];
      std::vector<double> kl(static_cast<size_t>(row.target_end - row.target_begin), 0.0);
      if (beta_ > 0) {
        TRY(found, row_kl(batch, row));
        kl = std::move(found);
      }
      for (const double k : kl) kl_sum += k;
      const auto mask =
          std::span(batch.target_mask).subspan(static_cast<size_t>(row.target_begin), kl.size());
      const TokenRewards rewards =
          kl_reward(kl, mask, {.score = rollouts.rewards[i].value_or(0)}, {.beta = beta_});
      const std::vector<double> to_go = reward_to_go(rewards.rewards, mask, gamma_);
      std::copy(to_go.begin(), to_go.end(), returns.begin() + row.target_begin);
    }
    if (beta_ > 0) add_metric(metrics, "kl", kl_sum, static_cast<double>(count_loss_tokens(batch, false)));
    whiten_advantages(batch, returns);
    base_.finish(batch, metrics);
    return ok_status();
  }

  void settle(TrainBatch& batch) const override { base_.settle(batch); }

  Result<LossOutput> loss(const LossInput& input) const override { return base_.loss(input); }

 private:
  PolicyGradient base_;
  double beta_, gamma_;
};

class ReinforcePpBaseline final : public Objective {
 public:
  explicit ReinforcePpBaseline(PolicyGradient base) : base_(std::move(base)) {}

  Needs needs() const override { return base_.needs(); }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    const RolloutRewards rollouts = base_.rewards(batch, metrics);
    const Advantages distances =
        group_advantages(rollouts.rewards, rollouts.groups,
                         {.by = ScaleRewards::By::kNone, .single = ScaleRewards::Single::kRaw});
    add_reward_metrics(rollouts.rewards, distances, ScaleRewards::By::kNone, metrics);
    set_row_advantages(batch, rollouts, distances.values);
    whiten_advantages(batch, std::vector<double>(batch.advantages.begin(), batch.advantages.end()));
    base_.finish(batch, metrics);
    return ok_status();
  }

  void settle(TrainBatch& batch) const override { base_.settle(batch); }

  Result<LossOutput> loss(const LossInput& input) const override { return base_.loss(input); }

 private:
  PolicyGradient base_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_reinforce_pp(const ObjectiveConfig& config) {
  TRY(options, policy_gradient_options(config));
  options.beta = 0;  // it is in the reward
  TRY(base, PolicyGradient::create(options));
  return std::unique_ptr<Objective>(
      std::make_unique<ReinforcePp>(std::move(base), config.strength(), config.surrogate.gamma));
}

Result<std::unique_ptr<Objective>> make_reinforce_pp_baseline(const ObjectiveConfig& config) {
  TRY(base, PolicyGradient::create(config));
  return std::unique_ptr<Objective>(std::make_unique<ReinforcePpBaseline>(std::move(base)));
}

}  // namespace fulcrum
