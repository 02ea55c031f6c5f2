#include "engine/objective/overlong.h"

#include <gtest/gtest.h>

#include "engine/objective/prox_approx.h"
#include "engine/objective/reward_to_go.h"

namespace fulcrum {
namespace {

TEST(SoftOverlong, FallsFromZeroAtTheCacheToTheFactorAtTheLimitAndNoFurther) {
  const SoftOverlong rule{.max_length = 100, .cache = 20, .factor = 2};
  EXPECT_EQ(overlong_penalty(rule, 80), 0);
  EXPECT_EQ(overlong_penalty(rule, 90), -1);
  EXPECT_EQ(overlong_penalty(rule, 100), -2);
  EXPECT_EQ(overlong_penalty(rule, 500), -2);
}

TEST(RewardToGo, IsCarriedOverAToolTokenWhoseOwnRewardIsLost) {
  const std::vector<double> returns =
      reward_to_go(std::vector<double>{0, 9, 0, 1}, std::vector<uint8_t>{1, 0, 1, 1}, 0.5);
  EXPECT_EQ(returns, (std::vector<double>{0.25, 0, 0.5, 1}));
}

TEST(RewardToGo, OfAnEmptyRowIsNothing) {
  EXPECT_TRUE(reward_to_go(std::span<const double>(), std::span<const uint8_t>(), 1).empty());
}

TEST(ProximalWeight, IsZeroForTokensOfTheCurrentVersionAndOfUnknownOnes) {
  EXPECT_EQ(proximal_weight(10, 10), 0);
  EXPECT_EQ(proximal_weight(-1, 10), 0);
  EXPECT_EQ(proximal_weight(9, 10), 0);
  EXPECT_EQ(proximal_weight(8, 10), 0.5);
}

}  // namespace
}  // namespace fulcrum
