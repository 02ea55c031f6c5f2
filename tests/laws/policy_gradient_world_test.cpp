// The policy-gradient methods on a language that can be enumerated: in expectation each follows the exact
// gradient its paper writes, and the KL-regularised ones stop at reference * exp(reward / beta) / Z.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/objective/objective.h"
#include "tests/support/objective_run.h"
#include "tests/support/objectives.h"
#include "tests/support/tabular_world.h"

namespace fulcrum {
namespace {

using testing::largest;
using testing::make;
using testing::ObjectiveRun;
using testing::TabularWorld;

constexpr double kBeta = 0.7;
constexpr int64_t kParts = 9;  // of the rational policies

// Rewards and a reference over five tokens and an end, three tokens at most.
struct Setting {
  TabularWorld world{6, 3, 5};
  at::Tensor reference_PV = world.random_PV(1, 0.5);
  at::Tensor reward_S;

  Setting() {
    Rng rng(2, Purpose::kTest);
    std::vector<double> rewards;
    for (int64_t s = 0; s < world.size(); ++s) rewards.push_back(2 * rng.uniform() - 1);
    reward_S = at::tensor(rewards, at::kDouble);
  }

  // The rewards of a batch's rows, in which sequence s stands copies_S[s] times.
  void set_rewards(TrainBatch& batch, const std::vector<int64_t>& copies_S) const {
    size_t row = 0;
    for (size_t s = 0; s < copies_S.size(); ++s)
      for (int64_t c = 0; c < copies_S[s]; ++c)
        batch.rows[row++].reward = reward_S[static_cast<int64_t>(s)].item<double>();
  }

  // J = E[r] - beta KL(pi || reference), and its gradient.
  at::Tensor climb_PV(const at::Tensor& policy_PV, double beta) const {
    const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
    const at::Tensor log_pi_S = world.sequence_logps_S(leaf);
    const at::Tensor log_ratio_S = log_pi_S - world.sequence_logps_S(reference_PV);
    (log_pi_S.exp() * (reward_S - beta * log_ratio_S)).sum().backward();
    return leaf.grad();
  }
  // reference * exp(reward / beta) / Z, as log-probs.
  at::Tensor optimum_S() const {
    const at::Tensor log_p_S = world.sequence_logps_S(reference_PV) + reward_S / kBeta;
    return log_p_S - log_p_S.logsumexp(0);
  }
};

// What an objective does to a policy that has drawn the batch itself, exactly: every sequence stands in the
// batch as often as the policy draws it.
struct OwnBatch {
  std::vector<int64_t> draws_S;
  ObjectiveRun run;
  at::Tensor gradient_PV;

  OwnBatch(const Setting& s, const Objective& objective, const at::Tensor& policy_PV,
           const std::vector<float>& values_N = {})
      : draws_S(s.world.draws_S(policy_PV, kParts)) {
    TrainBatch batch = s.world.batch(policy_PV, s.reference_PV, draws_S);
    s.set_rewards(batch, draws_S);
    batch.old_values = values_N;
    const at::Tensor logps_N = s.world.token_logps_N(policy_PV).index_select(0, s.world.token_of_N(draws_S));
    ObjectiveState state;
    run = testing::run_objective(objective, state, std::move(batch), logps_N);
    EXPECT_TRUE(run.status.ok()) << run.status.message();
    gradient_PV = s.world.to_logits_PV(policy_PV, s.world.sum_copies_N(run.gradient_N, draws_S));
  }
};

// A batch of the uniform distribution, corrected for it: the expectation under any policy.
ObjectiveConfig corrected(const std::string& trainer) {
  ObjectiveConfig config;
  config.trainer = trainer;
  config.surrogate.importance_sampling_correction = true;
  config.surrogate.importance_sampling_mode = "sequence_truncate";
  config.surrogate.importance_sampling_cap = 1e6;
  return config;
}

at::Tensor corrected_gradient_PV(const Setting& s, const Objective& objective, const at::Tensor& policy_PV) {
  const std::vector<int64_t> once_S(static_cast<size_t>(s.world.size()), 1);
  TrainBatch batch = s.world.batch(policy_PV, s.reference_PV);
  s.set_rewards(batch, once_S);
  ObjectiveState state;
  const ObjectiveRun run =
      testing::run_objective(objective, state, std::move(batch), s.world.token_logps_N(policy_PV));
  EXPECT_TRUE(run.status.ok()) << run.status.message();
  return s.world.to_logits_PV(policy_PV, run.gradient_N);
}

// Its token mean divides by the tokens of the batch, whatever the policy.
TEST(PolicyGradientWorld, GrpoWithTokenMeansIsTheExactGradient) {
  const Setting s;
  ObjectiveConfig config = corrected("grpo");
  config.loss_type = "dapo";
  const at::Tensor policy_PV = s.world.random_PV(3, 0.7);
  const double rows = static_cast<double>(s.world.size()),
               tokens = static_cast<double>(s.world.batch(policy_PV, s.reference_PV).num_targets());
  const double deviation = s.reward_S.std().item<double>();
  for (const std::string scale : {"none", "group"}) {
    config.scale_rewards = scale;
    const double size = rows / tokens / (scale == "none" ? 1 : deviation + 1e-4);
    const at::Tensor want = -size * s.climb_PV(policy_PV, 0);
    EXPECT_LT(largest(corrected_gradient_PV(s, *make(config), policy_PV) - want), 1e-6 * largest(want))
        << scale;
  }
}

// Dr. GRPO (arXiv 2503.20783): the constant in place of the length makes it exact; the length in each row's
// mean is its bias, which is the one their paper writes.
TEST(PolicyGradientWorld, DrGrpoIsExactAndGrpoHasTheBiasOfItsLengths) {
  const Setting s;
  ObjectiveConfig config;
  config.scale_rewards = "none";
  config.max_completion_length = 3;
  const at::Tensor policy_PV = s.world.rational_PV(5, kParts), climb_PV = s.climb_PV(policy_PV, 0);
  config.loss_type = "dr_grpo";
  EXPECT_LT(largest(3 * OwnBatch(s, *make(config), policy_PV).gradient_PV + climb_PV), 1e-6);
  config.loss_type = "grpo";
  const at::Tensor got = OwnBatch(s, *make(config), policy_PV).gradient_PV;
  const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
  const at::Tensor log_pi_S = s.world.sequence_logps_S(leaf), pi_S = log_pi_S.detach().exp();
  const at::Tensor advantage_S = s.reward_S - (pi_S * s.reward_S).sum();
  (-(pi_S * advantage_S / s.world.lengths_S() * log_pi_S).sum()).backward();
  EXPECT_LT(largest(got - leaf.grad()), 1e-6);
  EXPECT_GT(largest(got * climb_PV.norm() / got.norm() + climb_PV), 1e-2 * largest(climb_PV));
}

// With rewards that say nothing GRPO's loss is its KL. In expectation the gradient of k3 is that of
// KL(reference || policy) at each token; bias-corrected it is that of KL(policy || reference), and so is
// k2's.
TEST(PolicyGradientWorld, TheKlInTheLossHasTheGradientItsEstimatorStandsFor) {
  Setting s;
  s.reward_S = at::ones_like(s.reward_S);
  const at::Tensor policy_PV = s.world.rational_PV(6, kParts);
  const at::Tensor reach_PV = [&] {  // how often the policy comes to each prefix, per row of logits
    const at::Tensor ones = at::ones_like(policy_PV);
    return (ones / s.world.natural_PV(policy_PV, ones)).sum(-1, true);
  }();
  const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
  const auto exact = [&](bool forward) {
    const at::Tensor log_pi_PV = at::log_softmax(leaf, -1), log_a_PV = at::log_softmax(s.reference_PV, -1);
    const at::Tensor kl_PV =
        forward ? log_a_PV.exp() * (log_a_PV - log_pi_PV) : log_pi_PV.exp() * (log_pi_PV - log_a_PV);
    leaf.mutable_grad() = at::Tensor();
    (reach_PV * kl_PV).sum().backward();
    return leaf.grad().clone();
  };
  struct Case {
    std::string estimator;
    bool corrected, forward;
  };
  for (const Case& c : std::vector<Case>{{"k3", false, true}, {"k3", true, false}, {"k2", false, false}}) {
    SCOPED_TRACE(c.estimator + (c.corrected ? " corrected" : ""));
    ObjectiveConfig config;
    config.loss_type = "dr_grpo";
    config.max_completion_length = 3;
    config.beta = kBeta;
    config.kl_estimator = c.estimator;
    config.surrogate.use_bias_correction_kl = c.corrected;
    const at::Tensor got = 3 * OwnBatch(s, *make(config), policy_PV).gradient_PV;
    EXPECT_LT(largest(got - kBeta * exact(c.forward)), 1e-6);
    EXPECT_GT(largest(got - kBeta * exact(!c.forward)), 1e-3);
  }
}

TEST(PolicyGradientWorld, RlooClimbsTheRegularisedReward) {
  const Setting s;
  ObjectiveConfig config = corrected("rloo");
  config.beta = kBeta;
  const at::Tensor policy_PV = s.world.random_PV(7, 0.7);
  const double n = static_cast<double>(s.world.size());
  const at::Tensor want = -n / (n - 1) * s.climb_PV(policy_PV, kBeta);
  EXPECT_LT(largest(corrected_gradient_PV(s, *make(config), policy_PV) - want), 1e-6 * largest(want));
}

// The advantages of both are whitened: the gradient is divided by their deviation. A critic at a prefix, be
// it as wrong as this one, is a baseline of what follows.
TEST(PolicyGradientWorld, PpoAndReinforcePpClimbTheRegularisedReward) {
  const Setting s;
  const at::Tensor policy_PV = s.world.rational_PV(8, kParts), climb_PV = s.climb_PV(policy_PV, kBeta);
  const std::vector<int64_t> draws_S = s.world.draws_S(policy_PV, kParts);
  const at::Tensor token_N = s.world.token_of_N(draws_S);
  const at::Tensor critic_P = s.world.random_PV(10).select(1, 0);
  const at::Tensor critic_N = s.world.prefix_of_N(critic_P).index_select(0, token_N).to(at::kFloat);
  const std::vector<float> values(critic_N.const_data_ptr<float>(),
                                  critic_N.const_data_ptr<float>() + critic_N.numel());
  const double rows_per_token =
      std::pow(static_cast<double>(kParts), 3) / static_cast<double>(token_N.numel());
  for (const std::string trainer : {"ppo", "reinforce_pp"}) {
    SCOPED_TRACE(trainer);
    ObjectiveConfig config;
    config.trainer = trainer;
    config.beta = kBeta;
    const bool critic = trainer == "ppo";
    if (critic) config.ppo.lam = 1;
    const OwnBatch own(s, *make(config), policy_PV, critic ? values : std::vector<float>{});
    const at::Tensor got = own.gradient_PV, want = -rows_per_token * climb_PV;
    const double deviation = ((got * want).sum() / (got * got).sum()).item<double>();
    EXPECT_GT(deviation, 0);
    EXPECT_LT(largest(got * deviation - want), 1e-5 * largest(want));
    if (!critic) continue;
    const at::Tensor advantage_N =
        testing::doubles_of(own.run.batch.returns) - testing::doubles_of(own.run.batch.old_values);
    EXPECT_NEAR(deviation, advantage_N.std().item<double>(), 1e-3 * deviation);
  }
}

// Where reference * exp(reward / beta) / Z is the policy itself, nothing is left to climb.
TEST(PolicyGradientWorld, ThePoliciesOfPpoAndReinforcePpRestAtTheOptimum) {
  Setting s;
  const at::Tensor policy_PV = s.world.rational_PV(11, kParts);
  s.reward_S = kBeta * (s.world.sequence_logps_S(policy_PV) - s.world.sequence_logps_S(s.reference_PV));
  for (const std::string trainer : {"ppo", "reinforce_pp"}) {
    ObjectiveConfig config;
    config.trainer = trainer;
    config.beta = kBeta;
    if (trainer == "ppo") config.ppo.lam = 1;
    const std::vector<int64_t> draws_S = s.world.draws_S(policy_PV, kParts);
    const std::vector<float> no_values(static_cast<size_t>(s.world.token_of_N(draws_S).numel()), 0.0F);
    const OwnBatch own(s, *make(config), policy_PV, trainer == "ppo" ? no_values : std::vector<float>{});
    EXPECT_LT(largest(own.gradient_PV), 1e-6) << trainer;
    EXPECT_LT(largest(s.climb_PV(policy_PV, kBeta)), 1e-12);
  }
}

// Follows RLOO from the reference until the policy is near the optimum; the distance reached.
double distance_reached(const Setting& s) {
  ObjectiveConfig config = corrected("rloo");
  config.beta = kBeta;
  const auto objective = make(config);
  const at::Tensor optimum_S = s.optimum_S();
  at::Tensor policy_PV = s.reference_PV.clone();
  double distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), optimum_S);
  EXPECT_GT(distance, 0.1) << "there is a way to go";
  for (int step = 0; step < 500 && distance > 5e-4; ++step) {
    const at::Tensor gradient_PV = corrected_gradient_PV(s, *objective, policy_PV);
    policy_PV = policy_PV - 0.5 / kBeta * s.world.natural_PV(policy_PV, gradient_PV);
    distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), optimum_S);
  }
  return distance;
}

TEST(PolicyGradientWorld, TheRegularisedPolicyReachesReferenceTimesExpRewardOverBeta) {
  EXPECT_LT(distance_reached(Setting()), 1e-3);
}

// SALSA (arXiv 2411.01798): the same with a soup in the reference's place. The parameters of these policies
// are their logits.
TEST(PolicyGradientWorld, WithASoupAsReferenceTheOptimumIsTheSoups) {
  Setting s;
  s.reference_PV = (s.world.random_PV(12) + s.world.random_PV(13) + s.world.random_PV(14)) / 3;
  EXPECT_LT(distance_reached(s), 1e-3);
}

}  // namespace
}  // namespace fulcrum
