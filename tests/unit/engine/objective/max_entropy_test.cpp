#include "engine/objective/max_entropy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();

MomentProblem binary(int64_t ones, int64_t zeros, double target) {
  MomentProblem out{.names_K = {"regex"}, .targets_K = {target}, .features_NK = {}, .log_weights_N = {}};
  for (int64_t i = 0; i < ones + zeros; ++i) {
    out.features_NK.push_back({i < ones ? 1.0 : 0.0});
    out.log_weights_N.push_back(0);
  }
  return out;
}

double logit(double p) { return std::log(p / (1 - p)); }

TEST(FitMoments, OneBinaryFeatureHasTheClosedForm) {
  const auto fit = fit_moments(binary(3, 97, 0.5));
  ASSERT_TRUE(fit.ok()) << fit.status().message();
  EXPECT_NEAR(fit->lambda_K[0], logit(0.5) - logit(0.03), 1e-10);
  EXPECT_DOUBLE_EQ(fit->moments_before_K[0], 0.03);
  EXPECT_NEAR(fit->moments_after_K[0], 0.5, 1e-12);
  EXPECT_LT(fit->iterations, 12);
  EXPECT_NEAR(fit->ess, 1 / (0.25 / 3 + 0.25 / 97), 1e-6);
}

TEST(FitMoments, GradientStepsArriveWhereNewtonDoes) {
  const MomentProblem problem = binary(20, 80, 0.6);
  const auto newton = fit_moments(problem), steps = fit_moments(problem, {.learning_rate = 0.5});
  ASSERT_TRUE(steps.ok()) << steps.status().message();
  EXPECT_NEAR(steps->lambda_K[0], newton->lambda_K[0], 1e-3);
  EXPECT_GT(steps->iterations, newton->iterations);
}

TEST(FitMoments, SamplesOfWeightZeroTakeNoPart) {
  MomentProblem problem = binary(2, 2, 0.25);
  problem.features_NK.push_back({1});
  problem.log_weights_N.push_back(-kInf);
  const auto fit = fit_moments(problem);
  ASSERT_TRUE(fit.ok()) << fit.status().message();
  EXPECT_NEAR(fit->lambda_K[0], logit(0.25), 1e-10);
}

TEST(FitMoments, CopiesOfAFeatureShareLambda) {
  MomentProblem problem = binary(10, 30, 0.5);
  problem.names_K.push_back("again");
  problem.targets_K.push_back(0.5);
  for (auto& phi : problem.features_NK) phi.push_back(phi[0]);
  const auto fit = fit_moments(problem);
  ASSERT_TRUE(fit.ok()) << fit.status().message();
  EXPECT_NEAR(fit->lambda_K[0] + fit->lambda_K[1], logit(0.5) - logit(0.25), 1e-6);
}

TEST(FitMoments, SaysWhichFeatureCannotBeFittedAndWhy) {
  const auto why = [](const MomentProblem& problem) {
    const auto fit = fit_moments(problem);
    EXPECT_FALSE(fit.ok());
    return fit.status().message();
  };
  EXPECT_THAT(why(binary(0, 50, 0.5)), HasSubstr("feature 'regex' never occurs in 50 samples"));
  EXPECT_THAT(why(binary(50, 0, 0.5)), HasSubstr("in every sample"));
  EXPECT_THAT(why(binary(5, 45, 1)), HasSubstr("needs an infinite lambda; make it a point-wise constraint"));
  EXPECT_THAT(why(binary(5, 45, 0)), HasSubstr("needs an infinite lambda"));
  MomentProblem small = binary(5, 45, 0.5);
  for (auto& phi : small.features_NK) phi[0] *= 0.25;
  EXPECT_THAT(why(small), HasSubstr("cannot be met: the samples of the initial policy show"));
  MomentProblem none = binary(5, 5, 0.5);
  for (double& w : none.log_weights_N) w = -kInf;
  EXPECT_THAT(why(none), HasSubstr("no sample satisfies the point-wise constraints"));
}

TEST(FitMoments, MomentsThatExcludeEachOtherAreRefused) {
  // b occurs only where a does: its mean cannot be the larger one.
  MomentProblem problem{.names_K = {"a", "b"},
                        .targets_K = {0.3, 0.6},
                        .features_NK = {{1, 1}, {1, 0}, {0, 0}, {0, 0}},
                        .log_weights_N = {0, 0, 0, 0}};
  const auto fit = fit_moments(problem);
  ASSERT_FALSE(fit.ok());
  EXPECT_THAT(fit.status().message(), HasSubstr("the moments cannot be met together"));
}

}  // namespace
}  // namespace fulcrum
