#include "engine/divergence/divergence.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/divergence/kl_estimators.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

TEST(MakeDivergence, AnUnknownNameIsAnErrorThatNamesTheNearest) {
  const auto d = make_divergence("forwardkl");
  ASSERT_FALSE(d.ok());
  EXPECT_EQ(d.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(d.status().message(), HasSubstr("did you mean 'forward_kl'?"));
}

TEST(MakeDivergence, OptionsOutOfRangeAreErrorsThatNameTheKey) {
  EXPECT_THAT(make_divergence("alpha_divergence", {.alpha = std::nan("")}).status().message(),
              HasSubstr("f_alpha_divergence_coef"));
  EXPECT_THAT(make_divergence("js_divergence", {.js_scale = 0}).status().message(), HasSubstr("js_scale"));
}

TEST(Divergence, JsScaleHalvesTheValue) {
  const at::Tensor l = at::tensor({-2.0, 0.3, 4.0}, at::kDouble);
  const at::Tensor whole = (*make_divergence("js_divergence"))->value(l);
  const at::Tensor half = (*make_divergence("js_divergence", {.js_scale = 0.5}))->value(l);
  EXPECT_TRUE(at::allclose(half * 2, whole));
}

TEST(Divergence, ResultsKeepShapeAndTypeAndHalfTypesAreComputedInFloat) {
  const auto d = *make_divergence("reverse_kl");
  const at::Tensor l = at::tensor({0.5, -0.5, 1.0, 2.0}, at::kDouble).to(at::kBFloat16).reshape({2, 2});
  const at::Tensor y = d->value(l.t());
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 2}));
  EXPECT_EQ(y[0][1].item<float>(), (d->value(at::tensor({1.0F}))).to(at::kBFloat16).item<float>());
}

TEST(Divergence, AnInfiniteDerivativeUnderAZeroGradientGivesZero) {
  const auto d = *make_divergence("forward_kl");
  const at::Tensor l = at::tensor({-1000.0, 0.0}, at::kDouble).requires_grad_(true);
  (d->slope(l) * at::tensor({0.0, 1.0}, at::kDouble)).index({1}).backward();
  EXPECT_EQ(l.grad()[0].item<double>(), 0.0);
  EXPECT_EQ(l.grad()[1].item<double>(), 1.0);
}

TEST(KlEstimators, K1AndK3HaveTheSameExpectationUnderThePolicyAndK3IsNeverNegative) {
  const at::Tensor pi = at::log_softmax(at::tensor({0.1, 1.0, -2.0}, at::kDouble), -1);
  const at::Tensor reference = at::log_softmax(at::tensor({1.0, -0.5, 0.2}, at::kDouble), -1);
  const at::Tensor k = pi - reference;
  const auto expectation = [&](KlEstimator kind) {
    return (pi.exp() * (*KlEstimate::create(kind))(k)).sum().item<double>();
  };
  const double exact = (*make_divergence("reverse_kl"))->exact(pi, reference).item<double>();
  EXPECT_NEAR(expectation(KlEstimator::kK1), exact, 1e-14);
  EXPECT_NEAR(expectation(KlEstimator::kK3), exact, 1e-14);
  EXPECT_TRUE(((*KlEstimate::create(KlEstimator::kK3))(k) >= 0).all().item<bool>());
  EXPECT_DOUBLE_EQ((*KlEstimate::create(KlEstimator::kK2))(at::tensor({3.0}, at::kDouble)).item<double>(),
                   4.5);
  EXPECT_FALSE(parse_kl_estimator("k4").ok());
}

}  // namespace
}  // namespace fulcrum
