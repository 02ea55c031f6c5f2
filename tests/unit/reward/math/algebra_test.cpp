#include "reward/math/algebra.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/rng.h"
#include "reward/math/answer.h"

namespace fulcrum {
namespace {

class AlgebraTest : public ::testing::Test {
 protected:
  Polynomial read(std::string_view text) {
    const std::optional<MathAnswer> answer = read_math(text, algebra_);
    EXPECT_TRUE(answer && answer->kind == MathAnswer::kExpression) << text;
    return answer ? answer->expression : Polynomial{};
  }
  bool equal(std::string_view a, std::string_view b) {
    return algebra_.is_zero(algebra_.subtract(read(a), read(b)));
  }
  bool readable(std::string_view text) { return read_math(text, algebra_).has_value(); }

  Budget budget_{10000000, Deadline::never(), {}};
  Algebra algebra_{budget_};
};

TEST_F(AlgebraTest, RootsOfIntegersHaveOneForm) {
  EXPECT_TRUE(equal("\\sqrt{72}", "6\\sqrt{2}"));
  EXPECT_TRUE(equal("\\sqrt{2}\\sqrt{3}", "\\sqrt 6"));
  EXPECT_TRUE(equal("\\sqrt[3]{16}", "2\\sqrt[3]{2}"));
  EXPECT_TRUE(equal("\\sqrt{\\frac{1}{2}}", "\\frac{\\sqrt2}{2}"));
  EXPECT_TRUE(equal("\\frac{1}{\\sqrt{3}-\\sqrt{2}}", "\\sqrt{3}+\\sqrt{2}"));
  EXPECT_TRUE(equal("\\sqrt{-4}", "2i"));
  EXPECT_FALSE(equal("\\sqrt{2}", "1.41421356"));
  EXPECT_FALSE(equal("\\sqrt{2}+\\sqrt{3}", "\\sqrt{5}"));
}

TEST_F(AlgebraTest, RationalFunctionsAreComparedByCrossMultiplying) {
  EXPECT_TRUE(equal("\\frac{1}{x-1}-\\frac{1}{x+1}", "\\frac{2}{x^2-1}"));
  EXPECT_TRUE(equal("\\frac{2x+2}{4}", "(x+1)/2"));
  EXPECT_TRUE(equal("\\frac{1}{2x+2}", "\\frac{1}{2}(x+1)^{-1}"));
  EXPECT_TRUE(equal("\\frac{1}{1+\\frac{1}{x}}", "\\frac{x}{x+1}"));
  EXPECT_FALSE(equal("\\frac{1}{x+1}", "\\frac{1}{x-1}"));
}

TEST_F(AlgebraTest, SymbolsKeepTheirSigns) {
  EXPECT_FALSE(equal("\\sqrt{x^2}", "x"));
  EXPECT_TRUE(equal("\\sqrt{x^2}^2", "x^2"));
  EXPECT_TRUE(equal("\\sqrt[3]{x^3}", "x"));
  EXPECT_TRUE(equal("|x-1|", "|1-x|"));
  EXPECT_TRUE(equal("\\sin(-x)", "-\\sin x"));
  EXPECT_TRUE(equal("\\tan x\\cot x", "1"));
}

TEST_F(AlgebraTest, WhatHasNoValueIsNotRead) {
  for (const char* text : {"\\frac{1}{0}", "0^{-1}", "(-1)^{1/4}", "\\ln 0", "1.5!", "2^{10^6}", "5000!",
                           "\\sqrt[0]{2}", "\\frac{1}{x-x}", "x +", "(1", "1 2"}) {
    EXPECT_FALSE(readable(text)) << text;
  }
  EXPECT_FALSE(budget_.exhausted());
}

TEST_F(AlgebraTest, ApproximationAgreesWithTheNormalForm) {
  const Polynomial p = read("\\sqrt{2}+\\pi^2-\\frac{\\ln 3}{e}+2^{\\sqrt 2}+\\cos(1)");
  const double want =
      std::sqrt(2.0) + M_PI * M_PI - std::log(3.0) / M_E + std::pow(2.0, std::sqrt(2.0)) + std::cos(1.0);
  ASSERT_TRUE(algebra_.approximate(p).has_value());
  EXPECT_NEAR(*algebra_.approximate(p), want, 1e-12);
  EXPECT_FALSE(algebra_.approximate(read("x+1")).has_value());
}

// Random expressions in x: (a op b) rewritten by a law must stay equal, and its value at random x must say
// the same.
TEST_F(AlgebraTest, LawsHoldOnRandomExpressions) {
  Rng rng(5, Purpose::kTest);
  const auto atom = [&]() -> std::string {
    switch (rng.below(5)) {
      case 0:
        return std::to_string(1 + rng.below(12));
      case 1:
        return "x";
      case 2:
        return "\\sqrt{" + std::to_string(2 + rng.below(30)) + "}";
      case 3:
        return "(x+" + std::to_string(1 + rng.below(5)) + ")";
      default:
        return "\\sin(x)";
    }
  };
  for (int i = 0; i < 200; ++i) {
    const std::string a = atom(), b = atom(), c = atom();
    EXPECT_TRUE(equal(a + "(" + b + "+" + c + ")", a + "\\cdot " + b + "+" + a + "\\cdot " + c))
        << a << b << c;
    EXPECT_TRUE(
        equal("\\frac{" + a + "}{" + b + "}+" + c, "\\frac{" + a + "+" + b + "\\cdot " + c + "}{" + b + "}"))
        << a << b << c;
    EXPECT_TRUE(equal("(" + a + "+" + b + ")^2", a + "^2+2" + "\\cdot " + a + "\\cdot " + b + "+" + b + "^2"))
        << a << b;
    EXPECT_FALSE(equal(a + "+" + b, a + "+" + b + "+1")) << a << b;
  }
}

}  // namespace
}  // namespace fulcrum
