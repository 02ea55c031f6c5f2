// The laws of the divergence table (no tensors): every entry, its centred form, its adjoint and the generic
// adjoint, at several options, in float and double. A new line in divergences.def is under all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/divergence/generators/table.h"

namespace fulcrum {
namespace {

using generators::Adjoint;
using generators::adjoint_of;
using generators::centred_of;
using generators::GeneratorFacts;
using generators::kInfinity;

std::vector<double> grid() {
  std::vector<double> points;
  for (int i = -1600; i <= 1600; ++i) points.push_back(i / 20.0);
  for (double tiny : {1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.499999, 0.500001, 0.999999, 1.000001}) {
    points.push_back(tiny);
    points.push_back(-tiny);
  }
  std::sort(points.begin(), points.end());
  return points;
}

// Calls check(label, generator) for every entry at every option that matters to it, with its centred form and
// adjoints.
template <class Check>
void for_each_case(const Check& check) {
  const auto with_forms = [&](const std::string& label, const auto& g) {
    check(label, g);
    check(label + " centred", centred_of(g));
    check(label + " adjoint", adjoint_of(g));
  };
  for_each_generator({}, [&](std::string_view name, const auto& g) { with_forms(std::string(name), g); });
  for (double scale : {0.5, 2.0, 3.0})
    with_forms("js scale " + std::to_string(scale), generators::JsDivergence{scale});
  for (double alpha :
       {-1.5, -0.5, 0.0, 1e-12, 1e-4, 0.2, 0.499, 0.501, 0.8, 1 - 1e-9, 1.0, 1 + 1e-12, 1.4, 1.6, 2.0, 3.0}) {
    with_forms("alpha " + std::to_string(alpha), generators::AlphaDivergence{alpha});
  }
  with_forms("js 0.5", generators::JsDivergence{0.5});
}

// |a - b| within `relative` of the larger, or both equal (infinities included).
::testing::AssertionResult close(double a, double b, double relative, double absolute = 0) {
  if (a == b) return ::testing::AssertionSuccess();
  if (std::abs(a - b) <= absolute + relative * std::max(std::abs(a), std::abs(b)))
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << a << " is not " << b;
}

TEST(GeneratorLaws, ValueIsZeroAndSlopesAreTheFactsWherePolicyEqualsTarget) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    const GeneratorFacts facts = g.facts();
    EXPECT_EQ(g.value(0.0), 0.0);
    EXPECT_DOUBLE_EQ(g.slope(0.0), facts.slope_at_one);
    EXPECT_DOUBLE_EQ(g.curvature(0.0), facts.curvature_at_one);
    EXPECT_DOUBLE_EQ(g.gradient(0.0), facts.slope_at_one);
  });
}

TEST(GeneratorLaws, GradientIsTheDerivativeOfValueAndCurvatureOfSlope) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    for (double l = -30; l <= 30; l += 0.37) {
      const double h = 1e-4;
      const auto derivative = [&](auto f) {  // five points: error h^4
        return (8 * (f(l + h) - f(l - h)) - (f(l + 2 * h) - f(l - 2 * h))) / (12 * h);
      };
      const double of_value = derivative([&](double x) { return g.value(x); });
      const double of_slope = derivative([&](double x) { return g.slope(x); });
      const double noise_value = 1e-11 * std::max(1.0, std::abs(g.value(l)));
      const double noise_slope = 1e-11 * std::max(1.0, std::abs(g.slope(l)));
      EXPECT_TRUE(close(g.gradient(l), of_value, 1e-8, noise_value)) << "value at l = " << l;
      EXPECT_TRUE(close(g.curvature(l), of_slope, 1e-8, noise_slope)) << "slope at l = " << l;
      EXPECT_TRUE(close(g.gradient(l), std::exp(l) * g.slope(l), 1e-12, 1e-15)) << "u f' at l = " << l;
    }
  });
}

// Against the slopes in long double, which loses less to the cancellation.
TEST(GeneratorLaws, SlopeDifferenceKeepsItsDigitsWhereSlopesAreLargeOrClose) {
  int forms = 0;
  for_each_case([&](const std::string& label, const auto& g) {
    if constexpr (requires { g.slope_difference(1.0, 2.0); }) {
      ++forms;
      SCOPED_TRACE(label);
      for (const double m : {-60.0, -35.0, -1.0, -1e-3, 0.0, 0.4, 2.0, 35.0, 50.0}) {
        EXPECT_EQ(g.slope_difference(m, m), 0);
        for (const double d : {0x1p-24, 1e-3, 0.3, 0.999, 1.001, 5.0, 80.0}) {
          const double l = m + d, got = g.slope_difference(l, m);
          EXPECT_GT(got, 0) << l << " " << m;
          EXPECT_TRUE(close(g.slope_difference(m, l), -got, 1e-14)) << l << " " << m;
          using Wide = long double;
          const Wide wide = g.slope(Wide(l)) - g.slope(Wide(m));
          const Wide lost = std::max(std::abs(g.slope(Wide(l))), std::abs(g.slope(Wide(m)))) * 1e-18L;
          if (lost < std::abs(wide) * 1e-12L) {
            EXPECT_TRUE(close(got, double(wide), 1e-11)) << l << " " << m;
          }
        }
      }
    }
  });
  EXPECT_GE(forms, 20);
}

TEST(GeneratorLaws, SlopeIncreasesAsAConvexFunctionsMust) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    double last = -kInfinity;
    for (double l : grid()) {
      const double slope = g.slope(l);
      EXPECT_GE(slope, last - 1e-15 * std::abs(last)) << "l = " << l;
      EXPECT_GE(g.curvature(l), 0.0);
      last = slope;
    }
  });
}

TEST(GeneratorLaws, CentredFormIsNeverNegativeAndRisesFromItsZero) {
  const auto check = []<class T>(const std::string& label, const auto& g, T) {
    SCOPED_TRACE(label);
    EXPECT_EQ(g.facts().slope_at_one, 0.0);
    const T rounding = 64 * std::numeric_limits<T>::epsilon();
    T left = std::numeric_limits<T>::infinity(), right = 0;
    for (double point : grid()) {
      const T value = g.value(T(point));
      ASSERT_GE(value, T(0)) << "l = " << point;
      if (point < 0) {
        EXPECT_LE(value, left * (1 + rounding)) << "l = " << point;
        left = value;
      } else {
        EXPECT_GE(value, right * (1 - rounding)) << "l = " << point;
        right = value;
      }
    }
  };
  for_each_case([&](const std::string& label, const auto& g) {
    check(label + " in double", centred_of(g), 0.0);
    check(label + " in float", centred_of(g), 0.0F);
  });
}

TEST(GeneratorLaws, InverseSlopeReturnsTheLogRatioWhereTheSlopeHasNotSaturated) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    if (!g.facts().invertible) {
      EXPECT_TRUE(std::isnan(g.inverse_slope(0.1)));
      return;
    }
    for (double l : grid()) {
      const double y = g.slope(l), curvature = g.curvature(l);
      if (!(curvature > 1e-6) || std::abs(y) > 1e200) continue;
      const double rounding = 1e-15 * (std::abs(y) + 1) / curvature;
      EXPECT_NEAR(g.inverse_slope(y), l, 1e-12 * (1 + std::abs(l)) + rounding) << "y = " << y;
    }
  });
}

TEST(GeneratorLaws, FloatAgreesWithDoubleUpToEightyNats) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    const auto agree = [](float got, double want, double l) {
      ASSERT_FALSE(std::isnan(got)) << "l = " << l;
      if (std::abs(want) > 3e38) return;  // float's own range
      // exp(k l) in float carries the rounding of k l.
      EXPECT_TRUE(close(got, want, 4e-6 * std::max(1.0, std::abs(l) / 4), 1e-37)) << "l = " << l;
    };
    for (double point : grid()) {
      const auto l = static_cast<float>(point);
      const auto exact = static_cast<double>(l);
      agree(g.value(l), g.value(exact), exact);
      agree(g.slope(l), g.slope(exact), exact);
      agree(g.curvature(l), g.curvature(exact), exact);
      agree(g.gradient(l), g.gradient(exact), exact);
    }
  });
}

template <class T>
void expect_limits(const auto& g) {
  const GeneratorFacts facts = g.facts();
  const T infinity = std::numeric_limits<T>::infinity();
  EXPECT_TRUE(close(g.value(-infinity), facts.value_at_zero, 1e-6));
  EXPECT_TRUE(close(g.slope(-infinity), facts.slope_at_zero, 1e-6));
  EXPECT_TRUE(close(g.slope(infinity), facts.slope_at_infinity, 1e-6));
  if (facts.slope_at_infinity > 0) {
    EXPECT_EQ(g.value(infinity), infinity);
  }
  if (std::isfinite(facts.value_at_zero)) {
    EXPECT_NEAR(g.gradient(-infinity), 0, 1e-30);
  }
  for (T far : {T(-1000), T(-300), T(-110), T(-90), T(90), T(110), T(300), T(1000), -infinity, infinity}) {
    EXPECT_FALSE(std::isnan(g.value(far))) << far;
    EXPECT_FALSE(std::isnan(g.slope(far))) << far;
    EXPECT_FALSE(std::isnan(g.gradient(far))) << far;
    EXPECT_FALSE(std::isnan(g.curvature(far))) << far;
  }
}

TEST(GeneratorLaws, LimitsAreTheFactsAndNothingIsNanBeyondTheRangeOfExp) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    expect_limits<double>(g);
    expect_limits<float>(g);
  });
}

TEST(GeneratorLaws, NanInIsNanOut) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    EXPECT_TRUE(std::isnan(g.value(std::nan(""))));
    EXPECT_TRUE(std::isnan(g.gradient(std::nan(""))));
  });
}

TEST(GeneratorLaws, AdjointSwapsTheArgumentsAndTwiceIsTheGeneratorItself) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    const auto named = adjoint_of(g);
    const Adjoint<std::decay_t<decltype(g)>> generic{g};
    const auto back = adjoint_of(named);
    for (double l = -20; l <= 20; l += 0.25) {
      const double expected = std::exp(l) * g.value(-l);
      EXPECT_TRUE(close(named.value(l), expected, 1e-9, 1e-12)) << "l = " << l;
      EXPECT_TRUE(close(named.slope(l), generic.slope(l), 1e-9, 1e-9 * std::max(1.0, std::abs(g.value(-l)))))
          << "l = " << l;
      EXPECT_TRUE(close(named.curvature(l), generic.curvature(l), 1e-9)) << "l = " << l;
      EXPECT_TRUE(close(back.value(l), g.value(l), 1e-12, 1e-15)) << "l = " << l;
      EXPECT_TRUE(close(back.slope(l), g.slope(l), 1e-12, 1e-15)) << "l = " << l;
    }
    // 1 - alpha rounds, which the facts near alpha 0 and 1 magnify.
    const GeneratorFacts a = named.facts(), b = generic.facts();
    EXPECT_TRUE(close(a.value_at_zero, b.value_at_zero, 1e-3));
    EXPECT_TRUE(close(a.slope_at_zero, b.slope_at_zero, 1e-3));
    EXPECT_TRUE(close(a.slope_at_one, b.slope_at_one, 1e-3));
    EXPECT_TRUE(close(a.slope_at_infinity, b.slope_at_infinity, 1e-3));
    EXPECT_TRUE(close(a.adjoint_slope_at_zero, b.adjoint_slope_at_zero, 1e-3));
    EXPECT_EQ(a.smooth, b.smooth);
    EXPECT_EQ(a.invertible, b.invertible);
  });
}

TEST(GeneratorLaws, LinearTailIsTheGeneratorBelowItsEdgeAndItsTangentAbove) {
  for_each_case([](const std::string& label, const auto& g) {
    SCOPED_TRACE(label);
    const generators::LinearTail<std::decay_t<decltype(g)>> tailed{g, 5.0};
    EXPECT_EQ(tailed.value(4.75), g.value(4.75));
    EXPECT_EQ(tailed.gradient(-70.0), g.gradient(-70.0));
    EXPECT_DOUBLE_EQ(tailed.value(8.0), g.value(5.0) + 3 * g.gradient(5.0));
    EXPECT_EQ(tailed.gradient(80.0), g.gradient(5.0));
    EXPECT_TRUE(std::isfinite(tailed.value(80.0F)));
  });
}

TEST(GeneratorLaws, AlphaRunsThroughTheKlsAndHellinger) {
  const auto near = [](double alpha, const auto& other, double factor) {
    const generators::AlphaDivergence g{alpha};
    for (double l : {-40.0, -3.0, -1e-3, 1e-3, 0.7, 3.0, 40.0}) {
      EXPECT_TRUE(close(g.value(l), factor * other.value(l), 1e-6)) << alpha << " at " << l;
      EXPECT_TRUE(close(g.slope(l), factor * other.slope(l), 1e-6)) << alpha << " at " << l;
    }
  };
  for (double off : {0.0, 1e-9, -1e-9}) {
    near(off, generators::CentredForwardKl{}, 1);
    near(1 + off, generators::CentredReverseKl{}, 1);
  }
  near(0.5, generators::Hellinger{}, 2);
  near(2.0, generators::ChiSquared{}, 0.5);
  near(-1.0, generators::ReverseChiSquared{}, 0.5);
}

}  // namespace
}  // namespace fulcrum
