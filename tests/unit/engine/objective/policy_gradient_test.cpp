// What the policy-gradient trainers promise at the edges: rows that cannot be learnt from, samples of another
// policy, keys that do not fit together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/loss_fixture.h"
#include "tests/support/objectives.h"

namespace fulcrum {
namespace {

using testing::config_of;
using ::testing::Each;
using testing::FixtureRow;
using ::testing::HasSubstr;
using testing::LossFixture;
using testing::LossRun;
using testing::refusal;

const double kNan = std::nan("");
const double kMinusInfinity = -std::numeric_limits<double>::infinity();

LossRun run(const ObjectiveConfig& config, const std::vector<FixtureRow>& rows, int64_t micro = 0) {
  const auto made = make_objective(config);
  EXPECT_TRUE(made.ok()) << made.status().message();
  LossRun out = LossFixture(rows).run(**made, at::kDouble, micro);
  EXPECT_TRUE(out.status.ok()) << out.status.message();
  return out;
}
std::vector<FixtureRow> pair_of(FixtureRow a, FixtureRow b) { return {std::move(a), std::move(b)}; }

TEST(PolicyGradient, WhereEveryGroupIsOfOneMindTheLossAndItsGradientAreExactlyZero) {
  for (const std::string trainer : {"grpo", "rloo", "reinforce_pp_baseline"}) {
    SCOPED_TRACE(trainer);
    ObjectiveConfig config = config_of(trainer);
    config.beta = 0;
    const LossRun out =
        run(config, pair_of({.logps = {-1, -2}, .reward = 0.1}, {.logps = {-3}, .reward = 0.1}));
    EXPECT_EQ(out.loss, 0);
    for (const auto& row : out.gradient) EXPECT_THAT(row, Each(0.0));
  }
}

TEST(PolicyGradient, WhereEveryRolloutIsCutShortAndMaskedNothingIsDividedByZero) {
  ObjectiveConfig config = config_of("grpo");
  config.mask_truncated_completions = true;
  for (const std::string loss_type : {"grpo", "bnpo", "dr_grpo", "dapo"}) {
    config.loss_type = loss_type;
    const LossRun out = run(config, pair_of({.logps = {-1}, .reward = 1.0, .truncated = true},
                                            {.logps = {-1}, .reward = 0.0, .truncated = true}));
    EXPECT_EQ(out.loss, 0) << loss_type;
    EXPECT_EQ(out.prepared.at("batch/loss_tokens").sum, 0);
  }
}

TEST(PolicyGradient, AnEmptyCompletionWithARewardIsStillInItsGroupsMean) {
  const LossRun out =
      run(config_of("grpo"), pair_of({.logps = {-1}, .reward = 1.0}, {.logps = {}, .reward = 0.0}));
  EXPECT_LT(out.gradient[0][0], 0);
  EXPECT_EQ(out.batch.denominator, 1);
}

TEST(PolicyGradient, ARewardThatIsNotANumberTakesItsRowOutOfTheLossAndIsCounted) {
  std::vector<FixtureRow> rows = pair_of({.logps = {-1}, .reward = 1.0}, {.logps = {-1}, .reward = 0.0});
  const LossRun without = run(config_of("grpo"), rows);
  rows.push_back({.logps = {-1}, .reward = kNan});
  const LossRun with = run(config_of("grpo"), rows);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_EQ(with.prepared.at("rewards/missing").sum, 1);
  EXPECT_EQ(with.gradient[2][0], 0);
}

TEST(PolicyGradient, AnUndefinedAdvantageTakesItsRowOutOfTheLossAndIsCounted) {
  ObjectiveConfig config = config_of("grpo");
  config.scale_rewards = "openrlhf";
  const LossRun out = run(config, {{.logps = {-1}, .reward = 1.0},
                                   {.logps = {-1}, .reward = 0.0},
                                   {.logps = {-1}, .reward = 1.0, .group = 1}});
  EXPECT_EQ(out.prepared.at("advantages/undefined").sum, 1);
  EXPECT_EQ(out.gradient[2][0], 0);
  EXPECT_EQ(out.batch.denominator, 2);
}

TEST(PolicyGradient, AnOverflowingRatioWithANegativeAdvantageIsBoundedByTheDualClip) {
  ObjectiveConfig config = config_of("grpo");
  config.num_iterations = 2;
  config.surrogate.dual_clip = 3;
  const LossRun out = run(config, {{.logps = {-1}, .old_logps = {-900}, .advantages = {-2}}});
  EXPECT_EQ(out.loss, 6);
  EXPECT_EQ(out.gradient[0][0], 0);
  EXPECT_EQ(out.metrics.at("ratio/clamped").mean(), 1);
  EXPECT_EQ(out.metrics.at("clip_ratio/dual_mean").mean(), 1);
}

TEST(PolicyGradient, AToolsTokensNeitherMoveTheLossNorCountInAnyMean) {
  ObjectiveConfig config = config_of("grpo");
  config.num_iterations = 2;
  config.surrogate.importance_sampling_level = "sequence";
  const std::vector<FixtureRow> rows = {
      {.logps = {-1, -7, -2}, .old_logps = {-1.2, -1, -2.1}, .mask = {1, 0, 1}, .advantages = {1, 1, 1}}};
  std::vector<FixtureRow> moved = rows;
  moved[0].logps[1] = -0.1;
  EXPECT_EQ(run(config, rows).loss, run(config, moved).loss);
  EXPECT_EQ(run(config, rows).batch.denominator, 2);
}

TEST(PolicyGradient, ASliceWithoutAnUnmaskedTokenAddsExactlyNothing) {
  const std::vector<FixtureRow> rows = {{.logps = {-1}, .reward = 1.0},
                                        {.logps = {-1}, .reward = 0.0},
                                        {.logps = {-1, -1}, .mask = {0, 0}, .reward = 0.5}};
  EXPECT_EQ(run(config_of("grpo"), rows, 2).loss, run(config_of("grpo"), rows).loss);
}

TEST(RolloutCorrection, WhereTheSamplersLogProbsAreMissingTheWeightIsOneAndTheyAreCounted) {
  ObjectiveConfig config = config_of("grpo");
  config.surrogate.importance_sampling_correction = true;
  const std::vector<FixtureRow> rows =
      pair_of({.logps = {-1, -2}, .reward = 1.0}, {.logps = {-1}, .reward = 0.0});
  const LossRun plain = run(config_of("grpo"), rows), corrected = run(config, rows);
  EXPECT_EQ(corrected.gradient, plain.gradient);
  EXPECT_EQ(corrected.metrics.at("sampling/importance_sampling_ratio/missing").mean(), 1);
  std::vector<FixtureRow> infinite = rows;
  infinite[0].sampling_logps = {kMinusInfinity, -2};
  infinite[1].sampling_logps = {-1};
  EXPECT_EQ(run(config, infinite).gradient, plain.gradient);
}

TEST(RolloutCorrection, LeavesTheKlUnweighted) {
  ObjectiveConfig config = config_of("grpo");
  config.beta = 1;
  config.surrogate.importance_sampling_correction = true;
  config.surrogate.importance_sampling_mode = "token_mask";
  const LossRun out =
      run(config, {{.logps = {-1}, .reference_logps = {-2}, .sampling_logps = {-9}, .advantages = {5}}});
  EXPECT_DOUBLE_EQ(out.gradient[0][0], -std::expm1(-1.0));
  EXPECT_EQ(out.metrics.at("sampling/importance_sampling_ratio/dropped").mean(), 1);
}

TEST(RolloutCorrection, DroppedTokensShrinkTheDenominatorOnlyIfAskedTo) {
  ObjectiveConfig config = config_of("grpo");
  config.surrogate.importance_sampling_correction = true;
  config.surrogate.importance_sampling_mode = "token_mask";
  const std::vector<FixtureRow> rows = {
      {.logps = {-1, -1}, .sampling_logps = {-9, -1}, .advantages = {1, 1}}};
  EXPECT_DOUBLE_EQ(run(config, rows).gradient[0][1], -0.5);
  config.surrogate.importance_sampling_denominator = "kept";
  EXPECT_DOUBLE_EQ(run(config, rows).gradient[0][1], -1);
}

TEST(RolloutCorrection, NormalisedWeightsKeepTheSizeOfTheLoss) {
  ObjectiveConfig config = config_of("grpo");
  config.surrogate.importance_sampling_correction = true;
  config.surrogate.importance_sampling_mode = "token_truncate";
  config.surrogate.importance_sampling_normalize = true;
  // The same weight on every token: dividing by their mean takes it out again.
  const std::vector<FixtureRow> rows =
      pair_of({.logps = {-1, -2}, .sampling_logps = {-1.5, -2.5}, .reward = 1.0},
              {.logps = {-1}, .sampling_logps = {-1.5}, .reward = 0.0});
  const LossRun plain = run(config_of("grpo"), rows), normalized = run(config, rows);
  EXPECT_NEAR(normalized.gradient[0][0], plain.gradient[0][0], 1e-7);
  EXPECT_NEAR(normalized.gradient[1][0], plain.gradient[1][0], 1e-7);
}

TEST(OffPolicyMask, LeavesOutANegativeRowThatThePolicyHasMovedAwayFrom) {
  ObjectiveConfig config = config_of("grpo");
  config.surrogate.off_policy_mask_threshold = 0.5;
  const std::vector<FixtureRow> rows = {{.logps = {-3, -3}, .sampling_logps = {-1, -1}, .reward = 1.0},
                                        {.logps = {-3, -3}, .sampling_logps = {-1, -1}, .reward = 0.0},
                                        {.logps = {-3}, .sampling_logps = {-2.9}, .reward = 0.0}};
  const LossRun out = run(config, rows);
  EXPECT_LT(out.gradient[0][0], 0);
  EXPECT_THAT(out.gradient[1], Each(0.0));
  EXPECT_GT(out.gradient[2][0], 0);
  EXPECT_EQ(out.metrics.at("off_policy/masked").mean(), 0.4);
}

TEST(SoftOverlong, MakesTheLongerOfTwoCorrectCompletionsTheWorse) {
  ObjectiveConfig config = config_of("grpo");
  config.max_completion_length = 4;
  config.surrogate.soft_punish_cache = 2;
  const LossRun out =
      run(config, pair_of({.logps = {-1, -1}, .reward = 1.0}, {.logps = {-1, -1, -1, -1}, .reward = 1.0}));
  EXPECT_LT(out.gradient[0][0], 0);
  EXPECT_GT(out.gradient[1][0], 0);
  EXPECT_EQ(out.prepared.at("rewards/soft_overlong/mean").mean(), -0.5);
}

TEST(BiasCorrectedKl, OnPolicyHasThePerSampleGradientOfK2) {
  ObjectiveConfig config = config_of("grpo");
  config.beta = 1;
  config.surrogate.use_bias_correction_kl = true;
  const std::vector<FixtureRow> rows = {{.logps = {-1}, .reference_logps = {-1.7}, .advantages = {0}}};
  EXPECT_NEAR(run(config, rows).gradient[0][0], 0.7, 1e-14);
}

TEST(Rloo, TakesTheSequencesKlOffItsRewardAndHasOneRatioForTheWholeCompletion) {
  ObjectiveConfig config = config_of("rloo");
  config.beta = 0.1;
  config.num_iterations = 2;
  // Rewards 1 - 0.1 * 0.5 and 0 - 0.1 * 0: distances 0.95 and -0.95; ratios e^0.1 and 1.
  const LossRun out = run(
      config,
      pair_of({.logps = {-1, -1}, .old_logps = {-1, -1.1}, .reference_logps = {-1.2, -1.4}, .reward = 1.0},
              {.logps = {-2}, .old_logps = {-2}, .reference_logps = {-2}, .reward = 0.0}));
  EXPECT_NEAR(out.gradient[0][0], -0.95 * std::exp(0.1) / 2, 1e-6);
  EXPECT_EQ(out.gradient[0][0], out.gradient[0][1]);
  EXPECT_NEAR(out.gradient[1][0], 0.95 / 2, 1e-6);
  EXPECT_NEAR(out.prepared.at("kl").mean(), 0.5 / 3, 1e-6);
}

TEST(Rloo, WithoutBetaNeedsNoReference) {
  ObjectiveConfig config = config_of("rloo");
  EXPECT_TRUE((*make_objective(config))->needs().reference_logps);
  config.beta = 0;
  EXPECT_FALSE((*make_objective(config))->needs().reference_logps);
  EXPECT_FALSE((*make_objective(config))->needs().policy_logps);
}

TEST(ReinforcePp, NeedsNoGroupAndWhitensOverTheTokensOfTheStep) {
  ObjectiveConfig config = config_of("reinforce_pp");
  config.beta = 0;
  const LossRun out = run(
      config, pair_of({.logps = {-1, -1}, .reward = 1.0}, {.logps = {-1, -1}, .reward = 0.0, .group = 1}));
  EXPECT_NEAR(out.batch.advantages[0], 1, 1e-6);
  EXPECT_NEAR(out.batch.advantages[3], -1, 1e-6);
}

TEST(ReinforcePp, AKlThatIsNotFiniteNamesItsPromptRow) {
  const auto made = make_objective(config_of("reinforce_pp"));
  const LossRun out = LossFixture({{.logps = {-1}, .reference_logps = {kMinusInfinity}}}).run(**made);
  EXPECT_EQ(out.status.code(), Code::kDataLoss);
  EXPECT_THAT(out.status.message(), HasSubstr("prompt row 100"));
}

TEST(Keys, ThatDoNotFitTogetherAreRefusedWithTheReason) {
  ObjectiveConfig rloo = config_of("rloo");
  rloo.loss_type = "dr_grpo";
  EXPECT_THAT(refusal(rloo), HasSubstr("trainer 'rloo' has no loss_type 'dr_grpo'"));
  ObjectiveConfig cispo = config_of("grpo");
  cispo.loss_type = "cispo";
  EXPECT_THAT(refusal(cispo), HasSubstr("it bounds the ratio itself"));
  ObjectiveConfig twice = config_of("grpo");
  twice.loss_type = "dr_grpo";
  twice.surrogate.loss_agg_mode = "token_mean";
  EXPECT_THAT(refusal(twice), HasSubstr("both say how losses are averaged"));
  ObjectiveConfig off = config_of("grpo");
  off.surrogate.importance_sampling_cap = 2;
  EXPECT_THAT(refusal(off), HasSubstr("without importance_sampling_correction"));
  ObjectiveConfig tv = config_of("grpo");
  tv.loss_type = "dppo_tv";
  tv.surrogate.importance_sampling_level = "sequence";
  EXPECT_THAT(refusal(tv), HasSubstr("importance_sampling_level must be token"));
  ObjectiveConfig form = config_of("dph_rl");
  form.dph_form = "clamped";
  EXPECT_THAT(refusal(form), HasSubstr("a form of forward_kl, not of js_divergence"));
}

}  // namespace
}  // namespace fulcrum
