// The objective f_dpg at its edges: what is dropped, refused, masked, remembered (the exact gradients and
// optima are in tests/laws/f_dpg_world_test.cpp, the golden numbers in tests/replay).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/objective/f_dpg_target.h"
#include "tests/support/objective_run.h"
#include "tests/support/objectives.h"

namespace fulcrum {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ObjectiveRun;
using testing::refusal;

constexpr double kInf = std::numeric_limits<double>::infinity();

// A completion; `base` and `proposal` as the policy where they are left out.
struct Row {
  std::vector<double> policy, base = {}, proposal = {};
  double ok = 1;  // the score of the reward "regex"
  std::optional<double> reward = 1.0;
  int64_t group = 0;
  int64_t prompt_row = 7;
  bool judged = true;
};

TrainBatch batch_of(const std::vector<Row>& rows) {
  TrainBatch out;
  for (const Row& row : rows) {
    const auto n = static_cast<int64_t>(row.policy.size()), at = out.num_targets();
    out.rows.push_back({.group = row.group,
                        .token_begin = at,
                        .token_end = at + n,
                        .target_begin = at,
                        .target_end = at + n,
                        .prompt_row = row.prompt_row,
                        .has_reward = row.reward.has_value(),
                        .reward = row.reward.value_or(0)});
    if (row.judged) out.rows.back().parts["regex"] = row.ok;
    for (size_t t = 0; t < row.policy.size(); ++t) {
      out.target_ids.push_back(static_cast<TokenId>(t));
      out.target_row.push_back(out.num_rows() - 1);
      out.target_mask.push_back(1);
      out.old_logps.push_back(static_cast<float>(row.policy[t]));
      out.reference_logps.push_back(static_cast<float>(row.base.empty() ? row.policy[t] : row.base[t]));
      out.sampling_logps.push_back(
          static_cast<float>(row.proposal.empty() ? row.policy[t] : row.proposal[t]));
    }
  }
  return out;
}

ObjectiveConfig filter_config() {
  ObjectiveConfig config;
  config.trainer = "f_dpg";
  config.f_dpg.constraints = {{"regex", 1}};
  return config;
}
ObjectiveConfig reward_config(const std::string& divergence = "reverse_kl") {
  ObjectiveConfig config;
  config.trainer = "f_dpg";
  config.beta = 0.5;
  config.f_dpg.target = "reward";
  config.f_divergence_type = divergence;
  return config;
}

ObjectiveRun run(const ObjectiveConfig& config, const std::vector<Row>& rows, ObjectiveState state = {}) {
  auto objective = make_objective(config);
  EXPECT_TRUE(objective.ok()) << objective.status().message();
  TrainBatch batch = batch_of(rows);
  const at::Tensor logps_N = at::tensor(batch.old_logps, at::kFloat);
  return testing::run_objective(**objective, state, std::move(batch), logps_N);
}
std::vector<double> gradient(const ObjectiveRun& run) {
  return {run.gradient_N.const_data_ptr<double>(),
          run.gradient_N.const_data_ptr<double>() + run.gradient_N.numel()};
}

TEST(FDpg, RefusesOptionsThatDoNotFitAndSaysWhy) {
  for (const std::string name : {"reverse_kl", "chi_squared", "jeffreys", "chi_po"}) {
    ObjectiveConfig config = filter_config();
    config.f_divergence_type = name;
    EXPECT_THAT(refusal(config), HasSubstr("its slope is infinite where the target is 0")) << name;
    config.f_dpg.constraints[0].moment = 0.5;
    EXPECT_TRUE(make_objective(config).ok()) << name;
  }
  ObjectiveConfig config = filter_config();
  config.f_dpg.constraints.clear();
  EXPECT_THAT(refusal(config), HasSubstr("'f_dpg.constraints' is empty"));
  config = filter_config();
  config.f_dpg.constraints.push_back({"regex", 0.5});
  EXPECT_THAT(refusal(config), HasSubstr("names 'regex' twice"));
  config = filter_config();
  config.beta = 0.1;
  EXPECT_THAT(refusal(config), HasSubstr("beta does nothing"));
  config = reward_config();
  config.beta.reset();
  EXPECT_THAT(refusal(config), HasSubstr("needs 'beta' above 0"));
  config = reward_config();
  config.f_dpg.constraints = {{"regex", 1}};
  EXPECT_THAT(refusal(config), HasSubstr("does nothing with \"target\": \"reward\""));
}

TEST(FDpg, OutsideTheTargetThePseudoRewardIsMinusTheSlopeAtInfinity) {
  // Z = 1/2: inside log t = log(1/2), outside inf. JS: r = log(1 + t^-1) - log 2.
  ObjectiveConfig config = filter_config();
  config.f_dpg.baseline = "none";
  const ObjectiveRun r = run(config, {{.policy = {-1, -2}, .ok = 1}, {.policy = {-3}, .ok = 0}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_NEAR(gradient(r)[0], -std::log(1.5) / 2, 1e-7);
  EXPECT_EQ(gradient(r)[0], gradient(r)[1]);
  EXPECT_NEAR(gradient(r)[2], std::log(2.0) / 2, 1e-7);
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/z").mean(), 0.5);
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/zero_target").mean(), 0.5);
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/ess").mean(), 1);
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/moment/regex").mean(), 0.5);
  EXPECT_FALSE(r.prepared.contains("divergence/reverse_kl"));
}

TEST(FDpg, AMomentOfZeroKeepsWhatScoresZero) {
  ObjectiveConfig config = filter_config();
  config.f_dpg.constraints[0].moment = 0;
  const ObjectiveRun r = run(config, {{.policy = {-1}, .ok = 1}, {.policy = {-1}, .ok = 0}});
  EXPECT_GT(gradient(r)[0], 0);
  EXPECT_LT(gradient(r)[1], 0);
}

TEST(FDpg, ATokenTheBaseModelExcludesPutsTheCompletionOutsideEveryTarget) {
  const std::vector<Row> rows = {{.policy = {-1, -2}}, {.policy = {-3, -1}, .base = {-3, -kInf}}};
  const ObjectiveRun r = run(reward_config("js_divergence"), rows);
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/zero_target").sum, 1);
  EXPECT_GT(gradient(r)[2], 0);
  const ObjectiveRun refused = run(reward_config("reverse_kl"), rows);
  EXPECT_EQ(refused.status.code(), Code::kDataLoss);
  EXPECT_THAT(refused.status.message(), HasSubstr("prompt row 7 lies outside the target"));
}

TEST(FDpg, ACompletionThePolicyHasLostIsDroppedAndCounted) {
  const std::vector<Row> rows = {
      {.policy = {-1}}, {.policy = {-2}, .ok = 0}, {.policy = {-kInf}, .base = {-1}, .proposal = {-1}}};
  const ObjectiveRun r = run(filter_config(), rows);
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_EQ(r.prepared.at("fdpg/dropped").sum, 1);
  const ObjectiveRun without = run(filter_config(), {rows[0], rows[1]});
  EXPECT_EQ(gradient(r)[0], gradient(without)[0]);
  EXPECT_EQ(gradient(r)[2], 0);
}

TEST(FDpg, ACompletionWithoutAScoreIsDropped) {
  std::vector<Row> rows = {{.policy = {-1}}, {.policy = {-2}, .ok = 0}, {.policy = {-3}, .judged = false}};
  EXPECT_EQ(run(filter_config(), rows).prepared.at("fdpg/dropped").sum, 1);
  rows[0].judged = rows[1].judged = false;
  const ObjectiveRun r = run(filter_config(), rows);
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_EQ(r.prepared.at("fdpg/dropped").sum, 3);
  EXPECT_THAT(gradient(r), Each(0.0));
  std::vector<Row> rewards = {{.policy = {-1}}, {.policy = {-2}, .reward = std::nullopt}, {.policy = {-1}}};
  rewards.push_back({.policy = {-1}, .reward = std::nan("")});
  EXPECT_EQ(run(reward_config(), rewards).prepared.at("fdpg/dropped").sum, 2);
}

TEST(FDpg, APointWiseScoreThatIsNoProbabilityIsRefused) {
  for (const double score : {-0.25, 1.5}) {
    const ObjectiveRun r = run(filter_config(), {{.policy = {-1}, .ok = score}, {.policy = {-1}}});
    EXPECT_EQ(r.status.code(), Code::kDataLoss);
    EXPECT_THAT(r.status.message(), HasSubstr("must lie between 0 (violated) and 1 (satisfied)"));
  }
}

TEST(FDpg, ASingleSampleOfAPromptTeachesNothingWithZOfTheBatch) {
  ObjectiveConfig config = filter_config();
  for (const std::string z : {"per_batch", "per_batch_leave_one_out"}) {
    config.f_dpg.z = z;
    const ObjectiveRun r = run(config, {{.policy = {-1}}});
    ASSERT_TRUE(r.status.ok()) << r.status.message();
    EXPECT_THAT(gradient(r), Each(0.0));
  }
}

TEST(FDpg, EqualSamplesHaveNoAdvantageAtAll) {
  const std::vector<Row> rows(3, Row{.policy = {-0.1, -0.2}, .base = {-0.3, -0.7}});
  EXPECT_THAT(gradient(run(reward_config("js_divergence"), rows)), Each(0.0));
  EXPECT_THAT(gradient(run(reward_config("forward_kl"), rows)), Each(0.0));
}

TEST(FDpg, APromptThatNeverMeetsTheTargetHasNoGradientAndIsCounted) {
  const ObjectiveRun r = run(filter_config(), {{.policy = {-1}, .ok = 0},
                                               {.policy = {-2}, .ok = 0},
                                               {.policy = {-1}, .group = 1, .prompt_row = 8},
                                               {.policy = {-2}, .ok = 0, .group = 1, .prompt_row = 8}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_EQ(gradient(r)[0], 0);
  EXPECT_EQ(gradient(r)[1], 0);
  EXPECT_NE(gradient(r)[2], 0);
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/zero_z").mean(), 0.5);
}

TEST(FDpg, PromptsWeighEquallyHoweverManySamplesAreLeft) {
  ObjectiveConfig config = reward_config("reverse_kl");
  config.f_dpg.baseline = "none";
  // All rewards are equal and the policy is the base model: pi = p, where the pseudo-reward is -1.
  const ObjectiveRun r = run(config, {{.policy = {-1}},
                                      {.policy = {-1}, .group = 1, .prompt_row = 8},
                                      {.policy = {-1}, .group = 1, .prompt_row = 8}});
  EXPECT_THAT(gradient(r), ::testing::ElementsAre(0.5, 0.25, 0.25));
}

TEST(FDpg, RunningZRemembersEveryPromptAndIsUpdatedBeforeItIsUsed) {
  const auto objective = *make_objective(filter_config());
  ObjectiveState state;
  Metrics first, second;
  TrainBatch a = batch_of({{.policy = {-1}}, {.policy = {-1}, .ok = 0}});
  ASSERT_TRUE(objective->prepare(a, state, first).ok());
  EXPECT_DOUBLE_EQ(first.at("fdpg/z").mean(), 0.5);
  EXPECT_FALSE(first.contains("fdpg/log_z_drift"));
  TrainBatch b = batch_of({{.policy = {-1}}, {.policy = {-1}}});
  TrainBatch other = batch_of({{.policy = {-1}, .prompt_row = 9}, {.policy = {-1}, .prompt_row = 9}});
  ASSERT_TRUE(objective->prepare(other, state, second).ok());
  EXPECT_DOUBLE_EQ(second.at("fdpg/z").mean(), 1);
  second.clear();
  ASSERT_TRUE(objective->prepare(b, state, second).ok());
  EXPECT_NEAR(second.at("fdpg/z").mean(), 0.75, 1e-12);
  EXPECT_NEAR(second.at("fdpg/log_z_drift").mean(), std::log(1.5), 1e-12);
  EXPECT_EQ(state.values.at("f_dpg.z").size(), 8u);
}

TEST(FDpg, AnOlderProposalIsWeighedByImportance) {
  ObjectiveConfig config = reward_config("reverse_kl");
  config.f_dpg.baseline = "none";
  // log pi - log a = 0 and log q = log pi - 0.5 on the second row; equal rewards.
  const ObjectiveRun r = run(config, {{.policy = {-1}}, {.policy = {-1}, .proposal = {-1.5}}});
  EXPECT_NEAR(gradient(r)[1] / gradient(r)[0], std::exp(0.5), 1e-6);
  ObjectiveConfig capped = config;
  capped.f_dpg.log_rho_max = 0.25;
  const ObjectiveRun c = run(capped, {{.policy = {-1}}, {.policy = {-1}, .proposal = {-1.5}}});
  EXPECT_NEAR(gradient(c)[1] / gradient(c)[0], std::exp(0.25), 1e-6);
  EXPECT_DOUBLE_EQ(c.prepared.at("fdpg/capped_ratios").sum, 1);
}

TEST(FDpg, OnTheSecondUpdateOfABatchTheRatioFollowsThePolicy) {
  ObjectiveConfig config = filter_config();
  config.num_iterations = 2;
  const auto objective = *make_objective(config);
  EXPECT_TRUE(objective->needs().old_logps);
  const TrainBatch batch = batch_of({{.policy = {-1, -2}}, {.policy = {-3}, .ok = 0}});
  ObjectiveState state;
  const at::Tensor at_N = at::tensor(batch.old_logps, at::kFloat);
  const ObjectiveRun still = testing::run_objective(*objective, state, batch, at_N);
  ObjectiveState again;
  const ObjectiveRun moved = testing::run_objective(*objective, again, batch,
                                                    at_N + at::tensor(std::vector<float>{0.25F, 0.25F, 0}));
  EXPECT_NEAR(gradient(moved)[0], gradient(still)[0] * std::exp(0.5), 1e-7);
  EXPECT_EQ(gradient(moved)[2], gradient(still)[2]);
}

TEST(FDpg, AForwardKlRewardThatWouldExplodeIsRefusedNamingTheRowAndTheKey) {
  const std::vector<Row> rows = {{.policy = {-60}, .base = {-10}, .proposal = {-10}}, {.policy = {-1}}};
  const ObjectiveRun r = run(reward_config("forward_kl"), rows);
  EXPECT_EQ(r.status.code(), Code::kDataLoss);
  EXPECT_THAT(r.status.message(), HasSubstr("set f_dpg.pseudo_reward_max"));
  ObjectiveConfig capped = reward_config("forward_kl");
  capped.f_dpg.pseudo_reward_max = 10;
  const ObjectiveRun fine = run(capped, rows);
  ASSERT_TRUE(fine.status.ok()) << fine.status.message();
  EXPECT_DOUBLE_EQ(fine.prepared.at("fdpg/capped_rewards").sum, 1);
}

// Rewards 1 and 0: at this beta the slope of chi-squared, 2 expm1(log t), passes every double at log t =
// 10^4.
TEST(FDpg, ASlopeThatOverflowsIsNotTakenForACompletionOutsideTheTarget) {
  const std::vector<Row> rows = {{.policy = {-1}}, {.policy = {-1}, .reward = 0}};
  ObjectiveConfig config = reward_config("chi_squared");
  config.beta = 1e-4;
  const ObjectiveRun slope = run(config, rows);
  EXPECT_EQ(slope.status.code(), Code::kDataLoss);
  EXPECT_THAT(slope.status.message(), HasSubstr("pseudo-rewards of 'chi_squared' of prompt row 7"));
  EXPECT_THAT(slope.status.message(), HasSubstr("raise beta (0.0001 now)"));
  EXPECT_THAT(slope.status.message(), Not(HasSubstr("outside the target")));
  config.beta = 1e-309;
  const ObjectiveRun energy = run(config, rows);
  EXPECT_EQ(energy.status.code(), Code::kDataLoss);
  EXPECT_THAT(energy.status.message(), HasSubstr("prompt row 7: reward 1.000000 / beta is beyond a double: "
                                                 "raise beta (1e-309 now)"));
}

TEST(FDpg, AZBeyondADoubleIsReportedByItsLogarithmAlone) {
  ObjectiveConfig config = reward_config("js_divergence");
  config.beta = 1e-3;
  const ObjectiveRun r = run(config, {{.policy = {-1}}, {.policy = {-1}, .reward = 0}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_FALSE(r.prepared.contains("fdpg/z"));
  EXPECT_NEAR(r.prepared.at("fdpg/log_z").mean(), 1000 - std::log(2.0), 1e-9);
  EXPECT_LT(gradient(r)[0], 0);
  EXPECT_GT(gradient(r)[1], 0);
}

// In the mean over prompts it has the gradient 0, so that the others weigh no more for its sake.
TEST(FDpg, APromptThatTeachesNothingCountsInTheMeanOverPrompts) {
  const std::vector<Row> two = {{.policy = {-1}}, {.policy = {-2}, .ok = 0}};
  std::vector<Row> never_met = two, single = two;
  never_met.push_back({.policy = {-1}, .ok = 0, .group = 1, .prompt_row = 8});
  single.push_back({.policy = {-1}, .group = 1, .prompt_row = 8});
  ObjectiveConfig config = filter_config();
  EXPECT_EQ(gradient(run(config, never_met))[0], gradient(run(config, two))[0] / 2);
  config.f_dpg.z = "per_batch";
  EXPECT_EQ(gradient(run(config, single))[0], gradient(run(config, two))[0] / 2);
}

TEST(FDpg, AMaskedTokenMayHoldAnything) {
  TrainBatch batch = batch_of({{.policy = {-1, -2}}, {.policy = {-3}, .ok = 0}});
  const auto objective = *make_objective(filter_config());
  TrainBatch spoilt = batch;
  for (TrainBatch* b : {&batch, &spoilt}) b->target_mask[1] = 0;
  spoilt.old_logps[1] = spoilt.reference_logps[1] = spoilt.sampling_logps[1] = std::nanf("");
  ObjectiveState state, again;
  const ObjectiveRun a =
      testing::run_objective(*objective, state, batch, at::tensor(batch.old_logps, at::kFloat));
  const ObjectiveRun b =
      testing::run_objective(*objective, again, spoilt, at::tensor(spoilt.old_logps, at::kFloat));
  ASSERT_TRUE(b.status.ok()) << b.status.message();
  EXPECT_EQ(gradient(a), gradient(b));
}

TEST(FDpg, AnEmptyCompletionKeepsItsPlaceInZ) {
  const ObjectiveRun r = run(filter_config(), {{.policy = {}, .ok = 0}, {.policy = {-1}}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_DOUBLE_EQ(r.prepared.at("fdpg/z").mean(), 0.5);
}

TEST(FDpg, WithoutTheFittedLambdaItDoesNotStart) {
  ObjectiveConfig config = filter_config();
  config.f_dpg.constraints[0].moment = 0.5;
  EXPECT_EQ(run(config, {{.policy = {-1}}}).status.code(), Code::kInternal);
  ObjectiveState state;
  state.values[kFDpgLambda] = {1.5};
  EXPECT_TRUE(run(config, {{.policy = {-1}}, {.policy = {-1}, .ok = 0}}, state).status.ok());
}

TEST(FDpg, LeaveOneOutZKeepsTheOnlySampleThatFoundTheTarget) {
  ObjectiveConfig config = filter_config();
  config.f_dpg.z = "per_batch_leave_one_out";
  const ObjectiveRun r =
      run(config, {{.policy = {-1}}, {.policy = {-1}, .ok = 0}, {.policy = {-2}, .ok = 0}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_LT(gradient(r)[0], 0);
  EXPECT_GT(gradient(r)[1], 0);
}

TEST(AlphaDpg, FixesItsRulesAndDividesByTheLength) {
  ObjectiveConfig config = filter_config();
  config.trainer = "alpha_dpg";
  config.f_alpha_divergence_coef = 0.25;
  config.max_completion_length = 8;
  // Z = 1/2 and log t = log(1/2) inside: R = 2^0.75 - 1, outside -1; leave-one-out of two is the difference.
  const ObjectiveRun r = run(config, {{.policy = {-1}}, {.policy = {-1}, .ok = 0}});
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_NEAR(gradient(r)[0], -std::pow(2, 0.75) / 2 / 8, 1e-7);
  EXPECT_NEAR(gradient(r)[1], std::pow(2, 0.75) / 2 / 8, 1e-7);
  const ObjectiveRun none = run(config, {{.policy = {-1}, .ok = 0}, {.policy = {-1}, .ok = 0}});
  EXPECT_THAT(gradient(none), Each(0.0));
  EXPECT_NEAR(none.prepared.at("fdpg/z").mean(), 1e-4, 1e-12);
  ObjectiveConfig other = config;
  other.f_dpg.z = "per_batch";
  EXPECT_THAT(refusal(other), HasSubstr("fixes 'f_dpg.z' and 'f_dpg.baseline'"));
  other = config;
  other.f_dpg.constraints[0].moment = 0.5;
  EXPECT_THAT(refusal(other), HasSubstr("point-wise constraints only"));
  other = config;
  other.f_alpha_divergence_coef = 1.5;
  EXPECT_THAT(refusal(other), HasSubstr("must be between 0 and 1 with trainer 'alpha_dpg'"));
}

}  // namespace
}  // namespace fulcrum
