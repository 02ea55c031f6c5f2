#include "engine/objective/objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/objective/config/check_objective.h"
#include "engine/objective/dpo_link.h"
#include "tests/support/loss_fixture.h"
#include "tests/support/objectives.h"

namespace fulcrum {
namespace {

using testing::config_of;
using testing::FixtureRow;
using ::testing::HasSubstr;
using testing::LossFixture;
using testing::LossRun;
using testing::make;
using testing::refusal;

const double kNan = std::nan("");
const double kMinusInfinity = -std::numeric_limits<double>::infinity();

TEST(MakeObjective, RefusesOptionsThatDoNotFitAndSaysWhy) {
  EXPECT_THAT(refusal(config_of("dhp_rl")), HasSubstr("did you mean 'dph_rl'?"));
  ObjectiveConfig delta = config_of("grpo");
  delta.delta = 1.1;
  EXPECT_THAT(refusal(delta), HasSubstr("delta must be above 1 + epsilon_high"));
  ObjectiveConfig dpo = config_of("dpo");
  dpo.beta = 0;
  EXPECT_THAT(refusal(dpo), HasSubstr("beta must be above 0"));
}

TEST(MakeObjective, DpoRefusesLinksWhosePartitionFunctionDoesNotCancel) {
  for (const std::string name : {"total_variation", "chi_squared"}) {
    ObjectiveConfig config = config_of("dpo");
    config.f_divergence_type = name;
    EXPECT_THAT(refusal(config), HasSubstr("cannot be DPO's link")) << name;
  }
  ObjectiveConfig alpha = config_of("dpo");
  alpha.f_divergence_type = "alpha_divergence";
  alpha.f_alpha_divergence_coef = 1.5;
  EXPECT_THAT(refusal(alpha), HasSubstr("its slope is finite"));
}

TEST(Needs, AreWhatTheOptionsAskFor) {
  EXPECT_FALSE(make(config_of("grpo"))->needs().reference_logps);
  EXPECT_FALSE(make(config_of("grpo"))->needs().old_logps);
  ObjectiveConfig config = config_of("grpo");
  config.beta = 0.1;
  config.num_iterations = 2;
  EXPECT_TRUE(make(config)->needs().reference_logps);
  EXPECT_TRUE(make(config)->needs().old_logps);
  EXPECT_TRUE(make(config_of("dpo"))->needs().reference_logps);
  EXPECT_TRUE(make(config_of("dpo"))->needs().pairs);
}

TEST(Needs, OfAReferenceAreWhatTheConfigSays) {
  for (const std::string& trainer : trainer_names()) {
    for (const std::optional<double> beta :
         {std::optional<double>(), std::optional(0.0), std::optional(0.1)}) {
      ObjectiveConfig config = config_of(trainer);
      config.beta = beta;
      if (trainer.ends_with("dpg")) config.f_dpg.constraints = {{.feature = "math"}};
      const auto objective = make_objective(config);
      if (!objective.ok()) continue;  // dpo and tdpo at 0, f_dpg with a beta
      const Needs needs = (*objective)->needs();
      EXPECT_EQ(needs.reference_logps || needs.divergence, uses_reference(config))
          << trainer << " beta " << config.strength();
    }
  }
}

TEST(Sft, IsTheMeanOverTheStepsUnmaskedTokens) {
  const LossFixture fixture({{.logps = {-1, -2, -4}, .mask = {1, 0, 1}}, {.logps = {-3}}, {.logps = {}}});
  const auto sft = make(config_of("sft"));
  const LossRun run = fixture.run(*sft, at::kDouble, 1);
  EXPECT_DOUBLE_EQ(run.loss, 8.0 / 3);
  EXPECT_DOUBLE_EQ(run.gradient[0][0], -1.0 / 3);
  EXPECT_EQ(run.gradient[0][1], 0);
  EXPECT_EQ(run.prepared.at("batch/loss_tokens").sum, 3);
}

TEST(EveryObjective, GivesZeroAndNoNanWhenEverythingIsMasked) {
  for (const std::string trainer : {"sft", "grpo", "dpo", "dph_rl"}) {
    SCOPED_TRACE(trainer);
    std::vector<FixtureRow> rows = {{.logps = {-1, kNan}, .reference_logps = {kNan, -1}, .mask = {0, 0}},
                                    {.logps = {kMinusInfinity}, .reference_logps = {-1}, .mask = {0}}};
    const LossRun run = LossFixture(rows).run(*make(config_of(trainer)));
    ASSERT_TRUE(run.status.ok()) << run.status.message();
    EXPECT_DOUBLE_EQ(run.loss, trainer == "dpo" ? std::log(2.0) : 0.0);
    for (const auto& row : run.gradient) EXPECT_THAT(row, ::testing::Each(0.0));
  }
}

TEST(EveryObjective, RefusesALogProbThatIsNotFiniteAndNamesThePromptRow) {
  for (const std::string trainer : {"sft", "grpo", "dph_rl"}) {  // of pairs it is dropped (pairs_test.cpp)
    for (double bad : {kNan, kMinusInfinity}) {
      SCOPED_TRACE(trainer);
      const std::vector<FixtureRow> rows = {{.logps = {-1}, .reference_logps = {-1}},
                                            {.logps = {-1, bad}, .reference_logps = {-1, -1}}};
      const LossRun run = LossFixture(rows).run(*make(config_of(trainer)));
      EXPECT_EQ(run.status.code(), Code::kDataLoss);
      EXPECT_THAT(run.status.message(), HasSubstr("token 1 of a completion of prompt row 101"));
    }
  }
}

std::vector<FixtureRow> group_of_two() {
  return {{.logps = {-1, -2}, .reward = 1.0}, {.logps = {-1, -1, -3}, .reward = 0.0}};
}

TEST(Grpo, OnPolicyTheGradientIsMinusTheAdvantageSharedOutOverTheTokens) {
  const LossRun run = LossFixture(group_of_two()).run(*make(config_of("grpo")));
  const double a = 0.5 / (std::sqrt(0.5) + 1e-4);
  EXPECT_NEAR(run.gradient[0][0], -a / 5, 1e-7);  // advantages travel as fp32
  EXPECT_NEAR(run.gradient[1][2], a / 5, 1e-7);
  EXPECT_EQ(run.metrics.at("clip_ratio/region_mean").mean(), 0);
}

TEST(Grpo, ReportsRewardsAndLengthsUnderTrlsNames) {
  std::vector<FixtureRow> rows = group_of_two();
  rows.push_back({.logps = {-1}, .reward = 0.5, .group = 1, .truncated = true});
  rows.push_back({.logps = {-1}, .reward = 0.5, .group = 1});
  rows.push_back({.logps = {}, .reward = std::nullopt, .group = 1});
  const LossRun run = LossFixture(rows).run(*make(config_of("grpo")));
  const auto mean = [&](const std::string& name) { return run.prepared.at(name).mean(); };
  EXPECT_DOUBLE_EQ(mean("reward"), 0.5);
  EXPECT_DOUBLE_EQ(mean("reward_std"), std::sqrt(0.5) / 2);
  EXPECT_DOUBLE_EQ(mean("frac_reward_zero_std"), 0.5);
  EXPECT_DOUBLE_EQ(mean("completions/mean_length"), 7.0 / 5);
  EXPECT_DOUBLE_EQ(mean("completions/max_length"), 3);
  EXPECT_DOUBLE_EQ(mean("completions/min_length"), 0);
  EXPECT_DOUBLE_EQ(mean("completions/clipped_ratio"), 0.2);
  EXPECT_DOUBLE_EQ(mean("completions/mean_terminated_length"), 6.0 / 4);
  EXPECT_DOUBLE_EQ(run.prepared.at("rewards/missing").sum, 1);
  EXPECT_DOUBLE_EQ(run.prepared.at("completions/empty").sum, 1);
}

TEST(Grpo, ARowWithoutARewardLeavesTheLossAndTheTokenCount) {
  std::vector<FixtureRow> rows = group_of_two();
  const LossRun without = LossFixture(rows).run(*make(config_of("grpo")));
  rows.push_back({.logps = {-5, -5}, .reward = std::nullopt});
  const LossRun with = LossFixture(rows).run(*make(config_of("grpo")));
  EXPECT_DOUBLE_EQ(with.loss, without.loss);
  EXPECT_THAT(with.gradient[2], ::testing::Each(0.0));
  EXPECT_EQ(with.batch.denominator, 5);
}

TEST(Grpo, TruncatedRowsCanBeMaskedAndStillCountInTheGroupsMean) {
  std::vector<FixtureRow> rows = group_of_two();
  rows[1].truncated = true;
  ObjectiveConfig config = config_of("grpo");
  config.mask_truncated_completions = true;
  const LossRun run = LossFixture(rows).run(*make(config));
  EXPECT_THAT(run.gradient[1], ::testing::Each(0.0));
  EXPECT_LT(run.gradient[0][0], 0);
  EXPECT_EQ(run.batch.denominator, 2);
}

TEST(Grpo, AZeroStdGroupStillFeelsTheKl) {
  ObjectiveConfig config = config_of("grpo");
  config.beta = 0.1;
  const LossRun run = LossFixture({{.logps = {-1}, .reference_logps = {-2}, .reward = 1.0},
                                   {.logps = {-1}, .reference_logps = {-2}, .reward = 1.0}})
                          .run(*make(config));
  EXPECT_DOUBLE_EQ(run.gradient[0][0], 0.1 * -std::expm1(-1.0) / 2);
  EXPECT_DOUBLE_EQ(run.metrics.at("kl").mean(), std::expm1(-1.0) + 1);
}

TEST(Grpo, TheLogRatioIsBoundedAtTwentyAndHitsAreCounted) {
  ObjectiveConfig config = config_of("grpo");
  config.num_iterations = 2;
  const LossRun run = LossFixture({{.logps = {-1.0}, .old_logps = {-80.0}, .advantages = {-1}},
                                   {.logps = {-1.0}, .old_logps = {-1.0}, .advantages = {1}}})
                          .run(*make(config));
  ASSERT_TRUE(run.status.ok());
  EXPECT_NEAR(run.loss, (std::exp(20.0) - 1) / 2, 1e-3);
  EXPECT_EQ(run.gradient[0][0], 0);
  EXPECT_EQ(run.metrics.at("ratio/clamped").mean(), 0.5);
}

TEST(Grpo, ClipRatiosCountTheSideThatTheAdvantagePushesTo) {
  ObjectiveConfig config = config_of("grpo");
  config.num_iterations = 2;
  // Ratios e, e, 1/e, 1/e with advantages +, -, +, -: only the first and the last are clipped.
  const LossRun run =
      LossFixture({{.logps = {-1, -1, -2, -2}, .old_logps = {-2, -2, -1, -1}, .advantages = {1, -1, 1, -1}}})
          .run(*make(config));
  EXPECT_EQ(run.metrics.at("clip_ratio/high_mean").mean(), 0.25);
  EXPECT_EQ(run.metrics.at("clip_ratio/low_mean").mean(), 0.25);
  EXPECT_EQ(run.metrics.at("clip_ratio/region_mean").mean(), 0.5);
  EXPECT_EQ(run.gradient[0][0], 0);
  EXPECT_EQ(run.gradient[0][3], 0);
}

TEST(Dpo, ReverseKlIsDpoAndTheFirstStepIsLogTwo) {
  const LossRun run = LossFixture({{.logps = {-1, -2}, .reference_logps = {-1, -2}},
                                   {.logps = {-3}, .reference_logps = {-3}}})
                          .run(*make(config_of("dpo")));
  EXPECT_DOUBLE_EQ(run.loss, std::log(2.0));
  EXPECT_DOUBLE_EQ(run.gradient[0][1], -0.05);
  EXPECT_DOUBLE_EQ(run.gradient[1][0], 0.05);
  EXPECT_EQ(run.metrics.at("rewards/accuracies").mean(), 0);  // a tie is wrong
  EXPECT_EQ(run.metrics.at("logps/chosen").mean(), -3);
}

TEST(Dpo, AnIdenticalPairIsCountedAndItsGradientsCancel) {
  LossFixture fixture(
      {{.logps = {-1}, .reference_logps = {-1.5}}, {.logps = {-1}, .reference_logps = {-1.5}}});
  const LossRun run = fixture.run(*make(config_of("dpo")));
  EXPECT_EQ(run.gradient[0][0], -run.gradient[1][0]);
}

TEST(Dpo, APairFarBelowTheReferenceKeepsAFiniteGradientAndIsCounted) {
  ObjectiveConfig config = config_of("dpo");
  config.f_divergence_type = "forward_kl";
  const std::vector<FixtureRow> rows = {{.logps = {-2000}, .reference_logps = {-1}},
                                        {.logps = {-1}, .reference_logps = {-1}}};
  const LossRun run = LossFixture(rows).run(*make(config), at::kFloat);
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  EXPECT_NEAR(run.gradient[0][0], -0.1 * std::exp(20.0), 1e3);
  EXPECT_EQ(run.metrics.at("pairs/guarded").mean(), 1);
  config.f_exponent_cap = std::nullopt;
  EXPECT_EQ(LossFixture(rows).run(*make(config)).status.code(), Code::kDataLoss);
}

TEST(Dpo, ClampLeavesPairsWithinTheCapToTheBitAndTakesTheGradientOfThoseBeyondIt) {
  ObjectiveConfig linear = config_of("dpo"), clamp = linear, none = linear;
  for (ObjectiveConfig* c : {&linear, &clamp, &none}) c->f_divergence_type = "forward_kl";
  linear.f_exponent_cap = clamp.f_exponent_cap = 5;
  none.f_exponent_cap = std::nullopt;
  clamp.f_exponent_guard = "clamp";
  const auto at = [](double chosen, double rejected) {
    return LossFixture(
        {{.logps = {chosen}, .reference_logps = {-1}}, {.logps = {rejected}, .reference_logps = {-1}}});
  };
  const LossFixture within = at(-5.5, -1.25), beyond = at(-9, -1.25), further = at(-30, -1.25);
  EXPECT_EQ(within.run(*make(clamp)).gradient, within.run(*make(none)).gradient);
  EXPECT_EQ(within.run(*make(clamp)).loss, within.run(*make(none)).loss);
  const LossRun lost = beyond.run(*make(clamp));
  EXPECT_EQ(lost.gradient[0][0], 0);
  EXPECT_GT(lost.gradient[1][0], 0) << "the other of the pair is within";
  EXPECT_EQ(lost.loss, further.run(*make(clamp)).loss);
  EXPECT_EQ(lost.metrics.at("pairs/guarded").mean(), 1);
  EXPECT_NEAR(beyond.run(*make(linear)).gradient[0][0], -0.1 * std::exp(5.0), 1e-3);
  clamp.f_exponent_cap = std::nullopt;
  EXPECT_THAT(refusal(clamp), ::testing::HasSubstr("f_exponent_guard"));
}

std::vector<FixtureRow> with_rehearsal(double logp, double stored) {
  std::vector<FixtureRow> rows = group_of_two();
  rows.push_back(
      {.logps = {logp, -1}, .stored_logps = {stored, -1}, .reward = std::nullopt, .rehearsal = true});
  return rows;
}

TEST(DphRl, AtTheInitialPolicyTheTermAndItsGradientAreExactlyZero) {
  const LossRun run = LossFixture(with_rehearsal(-0.7, -0.7)).run(*make(config_of("dph_rl")));
  EXPECT_THAT(run.gradient[2], ::testing::Each(0.0));
  EXPECT_EQ(run.metrics.at("divergence/js_divergence").mean(), 0);
}

TEST(DphRl, WithoutEtaItIsTheBaseObjectiveBitForBit) {
  ObjectiveConfig config = config_of("dph_rl");
  config.dph_eta = 0;
  const LossRun dph = LossFixture(with_rehearsal(-5, -0.1)).run(*make(config));
  const LossRun grpo = LossFixture(group_of_two()).run(*make(config_of("grpo")));
  EXPECT_EQ(dph.loss, grpo.loss);
  EXPECT_EQ(dph.gradient[0], grpo.gradient[0]);
  EXPECT_EQ(dph.gradient[1], grpo.gradient[1]);
  EXPECT_THAT(dph.gradient[2], ::testing::Each(0.0));
}

TEST(DphRl, ForwardKlPullsALostTokenBackHoweverFarItIs) {
  ObjectiveConfig config = config_of("dph_rl");
  config.f_divergence_type = "forward_kl";
  config.dph_eta = 1;
  const LossRun run = LossFixture(with_rehearsal(-60, -0.5)).run(*make(config), at::kFloat);
  EXPECT_FLOAT_EQ(static_cast<float>(run.gradient[2][0]), -0.5F);  // -1 over two tokens
  EXPECT_EQ(run.metrics.at("dph/share_lost").mean(), 0.5);
}

TEST(DphRl, RehearsalRowsStayOutOfRewardsLengthsAndAdvantages) {
  const LossRun run = LossFixture(with_rehearsal(-2, -1)).run(*make(config_of("dph_rl")));
  EXPECT_EQ(run.prepared.at("rewards/missing").sum, 0);
  EXPECT_EQ(run.prepared.at("completions/mean_length").count, 2);
  EXPECT_EQ(run.prepared.at("dph/rehearsal_rows").sum, 1);
  EXPECT_EQ(run.batch.denominator, 5);
  EXPECT_EQ(run.batch.rehearsal_denominator, 2);
  EXPECT_EQ(run.batch.advantages[5], 0);
}

TEST(DphRl, AnUnusableStoredLogProbSkipsItsTokenAndIsCounted) {
  const LossRun run = LossFixture(with_rehearsal(-2, kMinusInfinity)).run(*make(config_of("dph_rl")));
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  EXPECT_EQ(run.prepared.at("dph/skipped_tokens").sum, 1);
  EXPECT_EQ(run.gradient[2][0], 0);
  EXPECT_EQ(run.batch.rehearsal_denominator, 1);
}

TEST(DphRl, GrpoRefusesRehearsalRows) {
  EXPECT_EQ(LossFixture(with_rehearsal(-2, -1)).run(*make(config_of("grpo"))).status.code(), Code::kInternal);
}

}  // namespace
}  // namespace fulcrum
