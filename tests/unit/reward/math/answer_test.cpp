#include "reward/math/answer.h"

#include <gtest/gtest.h>

namespace fulcrum {
namespace {

class AnswerTest : public ::testing::Test {
 protected:
  // Both ways round.
  bool same(std::string_view a, std::string_view b) {
    const std::optional<MathAnswer> x = read_math(a, algebra_), y = read_math(b, algebra_);
    EXPECT_TRUE(x && y) << a << " and " << b;
    if (!x || !y) return false;
    const bool forth = same_answer(*x, *y, algebra_, 0), back = same_answer(*y, *x, algebra_, 0);
    EXPECT_EQ(forth, back) << a << " and " << b;
    return forth;
  }

  Budget budget_{10000000, Deadline::never(), {}};
  Algebra algebra_{budget_};
};

TEST_F(AnswerTest, BoundsOfAnAbsoluteValueAreIntervalsOnBothSides) {
  EXPECT_TRUE(same("1 \\le |z| \\le \\frac{3}{2}", "z \\in [-\\frac{3}{2}, -1] \\cup [1, \\frac{3}{2}]"));
  EXPECT_TRUE(same("1 < |z| \\le 2", "[-2, -1) \\cup (1, 2]"));
  EXPECT_TRUE(same("2 \\ge |z| > 1", "[-2, -1) \\cup (1, 2]"));
  EXPECT_TRUE(same("|x| < 3", "(-3, 3)"));
  EXPECT_TRUE(same("0 \\le |x| \\le 3", "[-3, 3]"));
  EXPECT_TRUE(same("|x| \\ge \\sqrt{2}", "(-\\infty, -\\sqrt{2}] \\cup [\\sqrt{2}, \\infty)"));
  EXPECT_FALSE(same("1 \\le |z| \\le 2", "[1, 2]"));
  EXPECT_FALSE(same("1 \\le |z| \\le 2", "[-2, -1]"));
  EXPECT_FALSE(same("1 \\le |z| \\le 2", "[-2, 2]"));
  EXPECT_FALSE(same("1 \\le |z| \\le 2", "(-2, -1) \\cup (1, 2)"));
  EXPECT_FALSE(same("|x| \\le 3", "(-\\infty, 3]"));
  EXPECT_FALSE(same("|x| \\ge 2", "[2, \\infty)"));
  EXPECT_FALSE(same("|x| \\ge -1", "(-\\infty, 1] \\cup [-1, \\infty)"));
}

TEST_F(AnswerTest, AConstantFunctionMayNameItsArgumentAsItLikes) {
  EXPECT_TRUE(same("W(n) = 1", "W(x) = 1"));
  EXPECT_TRUE(same("W(n) = 1, W(n) = -1", "W(x) = -1 \\text{ or } W(x) = 1"));
  EXPECT_FALSE(same("W(n) = 1", "W(x) = 2"));
  EXPECT_FALSE(same("W(n) = 1", "V(n) = 1"));
  EXPECT_FALSE(same("f(2) = 1", "f(3) = 1"));
  EXPECT_FALSE(same("f(x) = y", "f(y) = y"));
  EXPECT_FALSE(same("f(x)", "f(y)"));
}

TEST_F(AnswerTest, ValuesOfOneUnknownAreASetAndOfSeveralAreNot) {
  EXPECT_TRUE(same("x = 1 \\text{ or } x = 2", "2, 1"));
  EXPECT_TRUE(same("x = 1, y = 2", "1, 2"));
  EXPECT_FALSE(same("x = 1, y = 2", "2, 1"));
  EXPECT_FALSE(same("x = 1, x = 2", "x = 1, y = 2"));
}

TEST_F(AnswerTest, BrokenTextBehindADivisionIsNotAQuotientWithoutValue) {
  for (const char* text : {"8/=", "8 \\div )", "\\frac{1}{)}"}) {
    EXPECT_FALSE(read_math(text, algebra_)) << text;
    EXPECT_FALSE(algebra_.no_value()) << text;
  }
  EXPECT_FALSE(read_math("8/0", algebra_));
  EXPECT_TRUE(algebra_.no_value());
}

}  // namespace
}  // namespace fulcrum
