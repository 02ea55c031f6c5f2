#include "reward/win_rate.h"

#include <gtest/gtest.h>

namespace fulcrum {
namespace {

TEST(WinRate, CountsATieAsHalfAWinAndHasNoValueWithoutAComparison) {
  const auto rate = win_rate({.wins = 270, .ties = 0, .losses = 230});
  ASSERT_TRUE(rate.has_value());
  EXPECT_DOUBLE_EQ(rate->rate, 0.54);
  EXPECT_NEAR(rate->std_error, 0.0223, 1e-4);  // 500 prompts: 54 % is within two errors of a coin
  EXPECT_DOUBLE_EQ(win_rate({.wins = 1, .ties = 2, .losses = 1})->adjusted, 0.5);
  EXPECT_FALSE(win_rate({}).has_value());
  EXPECT_FALSE(win_rate({.wins = -1, .ties = 2, .losses = 0}).has_value());
}

TEST(WinRate, EqualOutcomesHaveNoError) {
  EXPECT_EQ(win_rate({.ties = 80})->std_error, 0.0);
  EXPECT_EQ(win_rate({.wins = 7})->std_error, 0.0);
}

}  // namespace
}  // namespace fulcrum
