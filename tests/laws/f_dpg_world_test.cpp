// f-DPG on a language that can be enumerated: the product's objective, given every sequence with its
// importance weight, has the exact gradient of the exact divergence, and following it reaches the target.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/divergence/divergence.h"
#include "engine/objective/f_dpg_target.h"
#include "engine/objective/max_entropy.h"
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

// Of the alpha divergence: beyond the ends, at both of them (KL and reverse KL) and between.
const std::vector<double> kOrders = {-0.5, 0.0, 0.3, 0.8, 1.0, 1.5, 2.0};

generators::GeneratorFacts facts(const ObjectiveConfig& config) {
  return (*make_divergence(config.divergence(), config.divergence_options()))->facts();
}

// A base model, rewards, and the target that goes with a config.
struct Setting {
  TabularWorld world{6, 3, 5};  // five tokens and an end: 156 sequences
  at::Tensor base_PV = world.random_PV(1, 0.5);
  std::vector<double> reward;
  std::vector<std::map<std::string, double>> parts;

  Setting() {
    Rng rng(2, Purpose::kTest);
    for (const auto& sequence : world.sequences()) {
      reward.push_back(2 * rng.uniform() - 1);
      const bool zero = std::find(sequence.begin(), sequence.end(), 0) != sequence.end();
      const bool three = sequence.front() == 3;
      parts.push_back({{"no_zero", zero ? 0.0 : 1.0}, {"three", three ? 1.0 : 0.0}});
    }
  }

  TrainBatch batch(const at::Tensor& policy_PV) const {
    TrainBatch out = world.batch(policy_PV, base_PV);
    for (size_t s = 0; s < out.rows.size(); ++s) {
      out.rows[s].reward = reward[s];
      out.rows[s].parts = parts[s];
    }
    return out;
  }
  // log P - log Z from scores of the sequences.
  at::Tensor target_S(const std::vector<double>& scores) const {
    const at::Tensor log_P = world.sequence_logps_S(base_PV) + at::tensor(scores, at::kDouble);
    return log_P - log_P.logsumexp(0);
  }
  at::Tensor reward_target_S() const {
    std::vector<double> scores;
    for (const double r : reward) scores.push_back(r / kBeta);
    return target_S(scores);
  }
  at::Tensor filtered_target_S() const {
    std::vector<double> scores;
    for (const auto& p : parts) scores.push_back(std::log(p.at("no_zero")));
    return target_S(scores);
  }
};

ObjectiveConfig reward_config(const std::string& divergence) {
  ObjectiveConfig config;
  config.trainer = "f_dpg";
  config.beta = kBeta;
  config.f_divergence_type = divergence;
  config.f_dpg.target = "reward";
  config.f_dpg.baseline = "centre";
  return config;
}

ObjectiveConfig constraint_config(const std::string& divergence, std::vector<ConstraintConfig> constraints) {
  ObjectiveConfig config = reward_config(divergence);
  config.beta.reset();
  config.f_dpg.target = "constraints";
  config.f_dpg.constraints = std::move(constraints);
  return config;
}

// The objective's gradient in the policy's logits.
at::Tensor gradient_PV(const Setting& s, const Objective& objective, ObjectiveState& state,
                       const at::Tensor& policy_PV) {
  const ObjectiveRun run =
      testing::run_objective(objective, state, s.batch(policy_PV), s.world.token_logps_N(policy_PV));
  EXPECT_TRUE(run.status.ok()) << run.status.message();
  return s.world.to_logits_PV(policy_PV, run.gradient_N);
}

// Gradient descent from the base model until the policy is near enough; the distance reached.
double distance_reached(const Setting& s, const ObjectiveConfig& config, const at::Tensor& log_p_S,
                        ObjectiveState state = {}) {
  const auto objective = make(config);
  const bool smooth = facts(config).smooth;
  const double stiffness = facts(config).curvature_at_one;
  at::Tensor policy_PV = s.base_PV.clone();
  double distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), log_p_S);
  EXPECT_GT(distance, 0.1) << "there is a way to go";
  for (int step = 0; step < 3000 && distance > 5e-4; ++step) {
    // The slope of total variation does not fall off near the target, so its rate has to.
    const double rate = smooth ? 0.25 / stiffness : 0.5 / (1 + step / 20.0);
    const at::Tensor gradient = gradient_PV(s, *objective, state, policy_PV);
    policy_PV = policy_PV - rate * s.world.natural_PV(policy_PV, gradient);
    distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), log_p_S);
  }
  return distance;
}

TEST(FDpgWorld, TheGradientIsThatOfTheExactDivergenceForEveryGenerator) {
  const Setting s;
  const at::Tensor log_p_S = s.reward_target_S();
  for (const auto& [name, alpha] : testing::generators_and_orders(kOrders)) {
    SCOPED_TRACE(name + " " + std::to_string(alpha));
    ObjectiveConfig config = reward_config(name);
    config.f_alpha_divergence_coef = alpha;
    const at::Tensor policy_PV = s.world.random_PV(3, 0.7);
    ObjectiveState state;
    const at::Tensor got = gradient_PV(s, *make(config), state, policy_PV);
    const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
    (*make_divergence(name, {.alpha = alpha}))->exact(s.world.sequence_logps_S(leaf), log_p_S).backward();
    EXPECT_LT(largest(got - leaf.grad()), 1e-6 * (1 + largest(leaf.grad())));
  }
}

TEST(FDpgWorld, EveryDivergenceReachesATargetOfFullSupport) {
  const Setting s;
  for (const auto& [name, alpha] : testing::generators_and_orders(kOrders)) {
    ObjectiveConfig config = reward_config(name);
    config.f_alpha_divergence_coef = alpha;
    EXPECT_LT(distance_reached(s, config, s.reward_target_S()), 1e-3) << name << " " << alpha;
  }
}

TEST(FDpgWorld, EveryDivergenceOfFiniteSlopeReachesATargetWithZeros) {
  const Setting s;
  int reached = 0;
  for (const auto& [name, alpha] : testing::generators_and_orders(kOrders)) {
    ObjectiveConfig config = constraint_config(name, {{"no_zero", 1}});
    config.f_alpha_divergence_coef = alpha;
    if (!std::isfinite(facts(config).slope_at_infinity)) continue;
    ++reached;
    EXPECT_LT(distance_reached(s, config, s.filtered_target_S()), 1e-3) << name << " " << alpha;
  }
  EXPECT_GE(reached, 7);
}

TEST(FDpgWorld, FittedLambdaGivesATargetWithTheWantedMomentAndThePolicyMeetsIt) {
  const Setting s;
  const std::vector<ConstraintConfig> constraints = {{"no_zero", 1}, {"three", 0.5}};
  const ObjectiveConfig config = constraint_config("js_divergence", constraints);
  const EnergyTarget target(config.f_dpg, std::nullopt);
  MomentProblem problem{.names_K = {"three"}, .targets_K = {0.5}, .features_NK = {}, .log_weights_N = {}};
  const at::Tensor log_a_S = s.world.sequence_logps_S(s.base_PV);
  for (int64_t i = 0; i < s.world.size(); ++i) {
    const Judgement judged{std::nullopt, s.parts[static_cast<size_t>(i)]};
    problem.features_NK.push_back(*target.tilted_features(judged));
    problem.log_weights_N.push_back(log_a_S[i].item<double>() + **target.log_filter(judged));
  }
  const auto fit = fit_moments(problem);
  ASSERT_TRUE(fit.ok()) << fit.status().message();
  EXPECT_NEAR(fit->moments_after_K[0], 0.5, 1e-9);
  std::vector<double> scores;
  for (const auto& p : s.parts) scores.push_back(**target.score({std::nullopt, p}, fit->lambda_K));
  ObjectiveState state;
  state.values[kFDpgLambda] = fit->lambda_K;
  EXPECT_LT(distance_reached(s, config, s.target_S(scores), state), 1e-3);
}

// KL-DPG (arXiv 2012.11635): the gradient of the cross-entropy of p and pi.
TEST(FDpgWorld, ForwardKlIsKlDpg) {
  const Setting s;
  const at::Tensor policy_PV = s.world.random_PV(4, 0.7), log_p_S = s.reward_target_S();
  ObjectiveState state;
  const at::Tensor got = gradient_PV(s, *make(reward_config("forward_kl")), state, policy_PV);
  const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
  (-(log_p_S.exp() * s.world.sequence_logps_S(leaf)).sum()).backward();
  EXPECT_LT(largest(got - leaf.grad()), 1e-6);
}

// RL with a KL penalty: beta times the gradient of KL(pi || a exp(r/beta)/Z) is that of -(E[r] - beta KL(pi
// || a)).
TEST(FDpgWorld, ReverseKlToTheRewardTargetIsRlWithAKlPenalty) {
  const Setting s;
  const at::Tensor policy_PV = s.world.random_PV(5, 0.7);
  ObjectiveState state;
  const at::Tensor got = kBeta * gradient_PV(s, *make(reward_config("reverse_kl")), state, policy_PV);
  const at::Tensor leaf = policy_PV.clone().set_requires_grad(true);
  const at::Tensor log_pi_S = s.world.sequence_logps_S(leaf), r_S = at::tensor(s.reward, at::kDouble);
  const at::Tensor log_ratio_S = log_pi_S - s.world.sequence_logps_S(s.base_PV);
  (-(log_pi_S.exp() * (r_S - kBeta * log_ratio_S)).sum()).backward();
  EXPECT_LT(largest(got - leaf.grad()), 1e-6);
}

TEST(FDpgWorld, ZAndTheDivergencesToTheTargetAreTheExactOnes) {
  const Setting s;
  const at::Tensor policy_PV = s.world.random_PV(6, 0.7), log_p_S = s.reward_target_S();
  ObjectiveState state;
  const auto objective = make(reward_config("js_divergence"));
  const ObjectiveRun run =
      testing::run_objective(*objective, state, s.batch(policy_PV), s.world.token_logps_N(policy_PV));
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  const at::Tensor log_pi_S = s.world.sequence_logps_S(policy_PV),
                   log_a_S = s.world.sequence_logps_S(s.base_PV);
  const auto exact = [&](const std::string& name) {
    return (*make_divergence(name))->exact(log_pi_S, log_p_S).item<double>();
  };
  const auto metric = [&](const std::string& name) { return run.prepared.at(name).mean(); };
  const double z = (log_a_S.exp() * (at::tensor(s.reward, at::kDouble) / kBeta).exp()).sum().item<double>();
  EXPECT_NEAR(metric("fdpg/z"), z, 1e-6 * z);
  EXPECT_NEAR(metric("divergence/forward_kl"), exact("forward_kl"), 1e-6);
  EXPECT_NEAR(metric("divergence/reverse_kl"), exact("reverse_kl"), 1e-6);
  EXPECT_NEAR(metric("divergence/total_variation"), exact("total_variation"), 1e-6);
  EXPECT_NEAR(metric("divergence/jensen_shannon"), exact("js_divergence") / 2, 1e-6);
  EXPECT_NEAR(run.prepared.at("fdpg/kl_to_base").sum / static_cast<double>(s.world.size()),
              (log_pi_S.exp() * (log_pi_S - log_a_S)).sum().item<double>(), 1e-6);
}

}  // namespace
}  // namespace fulcrum
