#include "engine/objective/advantages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fulcrum {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Advantages advantages(std::vector<std::optional<double>> rewards, std::vector<int64_t> groups,
                      const std::string& scale = "group") {
  return group_advantages(rewards, groups, *parse_scale_rewards(scale));
}

TEST(GroupAdvantages, EqualRewardsGiveExactlyZeroEvenWhereTheMeanRounds) {
  // Eight times 0.1 added up in sequence is not 0.8.
  const Advantages a = advantages(std::vector<std::optional<double>>(8, 0.1), std::vector<int64_t>(8, 0));
  EXPECT_THAT(a.values, Each(0.0));
  EXPECT_EQ(a.zero_std_groups, 1);
}

TEST(GroupAdvantages, AreDividedByTheGroupsSampleDeviation) {
  const Advantages a = advantages({1, 0, 0, 1}, {0, 0, 0, 0});
  const double std = std::sqrt(1.0 / 3);
  EXPECT_NEAR(a.values[0], 0.5 / (std + 1e-4), 1e-15);
  EXPECT_NEAR(a.values[1], -0.5 / (std + 1e-4), 1e-15);
  EXPECT_NEAR(a.std_sum, std, 1e-15);
}

TEST(GroupAdvantages, BatchScaleKeepsGroupMeansAndSharesOneDeviation) {
  const Advantages a = advantages({1, 0, 10, 6}, {0, 0, 1, 1}, "batch");
  EXPECT_NEAR(a.values[0] * 4, a.values[2], 1e-12);
  EXPECT_NEAR(a.values[0], 0.5 / (a.batch_std + 1e-4), 1e-15);
}

TEST(GroupAdvantages, NoScaleIsTheDistanceFromTheMean) {
  EXPECT_THAT(advantages({3, 1, 2}, {7, 7, 7}, "none").values, ElementsAre(1, -1, 0));
}

TEST(GroupAdvantages, AMissingRewardIsLeftOutOfMeanAndDeviation) {
  const double nan = std::nan("");
  const Advantages a = advantages({1, std::nullopt, 0, nan}, {0, 0, 0, 0});
  const Advantages present = advantages({1, 0}, {0, 0});
  EXPECT_EQ(a.values[0], present.values[0]);
  EXPECT_EQ(a.values[1], 0);
  EXPECT_EQ(a.values[3], 0);
  EXPECT_EQ(a.missing, 2);
}

TEST(GroupAdvantages, AGroupOfOneHasNoAdvantageAndIsCounted) {
  const Advantages a = advantages({5, 1, std::nullopt}, {0, 1, 1});
  EXPECT_THAT(a.values, Each(0.0));
  EXPECT_EQ(a.single_groups, 2);
}

TEST(GroupAdvantages, GroupsNeedNotBeContiguous) {
  const Advantages apart = advantages({1, 5, 0, 2}, {0, 1, 0, 1});
  const Advantages together = advantages({1, 0, 5, 2}, {0, 0, 1, 1});
  EXPECT_THAT(apart.values,
              ElementsAre(together.values[0], together.values[2], together.values[1], together.values[3]));
}

TEST(GroupAdvantages, ALargeCommonOffsetCostsNoDigits) {
  const Advantages near = advantages({0, 0.25, 0.5}, {0, 0, 0});
  const Advantages far = advantages({1e6, 1e6 + 0.25, 1e6 + 0.5}, {0, 0, 0});
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(far.values[i], near.values[i], 1e-12);
}

TEST(GroupAdvantages, AGroupOfOneGetsWhatItsPresetSays) {
  EXPECT_EQ(advantages({5}, {0}, "verl").values[0], 5 / (1 + 1e-6));
  EXPECT_TRUE(std::isnan(advantages({5}, {0}, "openrlhf").values[0]));
  EXPECT_EQ(advantages({5}, {0}, "paper_population").values[0], 0);
}

TEST(GroupAdvantages, AFlooredVarianceHoldsDownAGroupOfNearlyEqualRewards) {
  EXPECT_LT(advantages({0.5, 0.5001}, {0, 0}, "verl_vectorized").values[1], 0.1);
  EXPECT_GT(advantages({0.5, 0.5001}, {0, 0}, "verl").values[1], 0.6);
}

TEST(GroupAdvantages, APresetThatDoesNotExistIsRefused) { EXPECT_FALSE(parse_scale_rewards("trl2").ok()); }

Advantages leave_one_out(std::vector<std::optional<double>> rewards, std::vector<int64_t> groups,
                         ScaleRewards::Single single = ScaleRewards::Single::kZero) {
  return leave_one_out_advantages(rewards, groups, single);
}

TEST(LeaveOneOut, IsTheDistanceFromTheMeanOfTheOthers) {
  EXPECT_THAT(leave_one_out({4, 1, 1}, {0, 0, 0}).values, ElementsAre(3, -1.5, -1.5));
}

TEST(LeaveOneOut, OfAGroupOfOneIsZeroUnlessTheRawRewardIsAskedFor) {
  EXPECT_THAT(leave_one_out({5}, {0}).values, ElementsAre(0));
  EXPECT_THAT(leave_one_out({5}, {0}, ScaleRewards::Single::kRaw).values, ElementsAre(5));
}

TEST(LeaveOneOut, AMissingRewardIsNobodysBaseline) {
  EXPECT_THAT(leave_one_out({4, std::nullopt, 2}, {0, 0, 0}).values, ElementsAre(2, 0, -2));
}

}  // namespace
}  // namespace fulcrum
