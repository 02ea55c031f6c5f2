#include "engine/objective/surrogate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

namespace fulcrum {
namespace {

at::Tensor numbers(std::vector<double> x) { return at::tensor(x, at::kDouble); }
double at_place(const at::Tensor& x, int64_t i) { return x[i].item<double>(); }
at::Tensor gradient(const at::Tensor& y, const at::Tensor& x) {
  return torch::autograd::grad({y.sum()}, {x})[0];
}

TEST(ClippedSurrogate, WhereThePolicyHasNotMovedTheGradientIsMinusTheAdvantage) {
  const at::Tensor log_ratio = numbers({0, 0}).requires_grad_(true);
  const TokenSurrogate s = clipped_surrogate(log_ratio, numbers({2, -3}), {});
  const at::Tensor g = gradient(s.loss_N, log_ratio);
  EXPECT_EQ(at_place(g, 0), -2);
  EXPECT_EQ(at_place(g, 1), 3);
  EXPECT_FALSE(s.clipped_N.any().item<bool>());
}

TEST(ClippedSurrogate, ARatioThatMovedAgainstItsAdvantageIsNeverClipped) {
  const at::Tensor log_ratio = numbers({-1, 1}).requires_grad_(true);
  const TokenSurrogate s = clipped_surrogate(log_ratio, numbers({1, -1}), {});
  const at::Tensor g = gradient(s.loss_N, log_ratio);
  EXPECT_DOUBLE_EQ(at_place(g, 0), -std::exp(-1.0));
  EXPECT_DOUBLE_EQ(at_place(g, 1), std::exp(1.0));
}

TEST(ClippedSurrogate, TheDualClipBoundsTheLossOfANegativeAdvantageAndEndsItsGradient) {
  const at::Tensor log_ratio = numbers({5, 5}).requires_grad_(true);
  const TokenSurrogate s = clipped_surrogate(log_ratio, numbers({-2, 2}), {.dual = 3.0});
  EXPECT_EQ(at_place(s.loss_N, 0), 6);
  EXPECT_EQ(at_place(gradient(s.loss_N, log_ratio), 0), 0);
  EXPECT_TRUE(s.dual_N[0].item<bool>());
  EXPECT_FALSE(s.dual_N[1].item<bool>());
}

TEST(ClippedSurrogate, AboveOnePlusEpsilonDeltaIsTheDualClip) {
  const at::Tensor log_ratio = numbers({-3, -0.1, 0.05, 0.4, 1.5, 8});
  for (const double sign : {1.0, -1.0}) {
    const at::Tensor advantages = at::full_like(log_ratio, sign);
    const TokenSurrogate delta = clipped_surrogate(log_ratio, advantages, {.delta = 4.0});
    const TokenSurrogate dual = clipped_surrogate(log_ratio, advantages, {.dual = 4.0});
    EXPECT_TRUE(at::equal(delta.loss_N, dual.loss_N));
  }
}

TEST(ClippedSurrogate, AnOverflowingRatioIsBoundedOnBothSidesAndHasNoGradient) {
  const at::Tensor log_ratio = numbers({1e4, -1e4}).requires_grad_(true);
  const TokenSurrogate s = clipped_surrogate(log_ratio, numbers({-1, 1}), {});
  EXPECT_DOUBLE_EQ(at_place(s.loss_N, 0), std::exp(20.0));
  const at::Tensor g = gradient(s.loss_N, log_ratio);
  EXPECT_EQ(at_place(g, 0), 0);
  EXPECT_EQ(at_place(g, 1), 0);
}

TEST(Cispo, NoTokensGradientIsCutToZero) {
  const at::Tensor logps = numbers({-0.1, -3}).requires_grad_(true);
  const at::Tensor log_ratio = logps - numbers({-9, -0.5});
  const TokenSurrogate s = cispo_surrogate(logps, log_ratio, numbers({1, -1}), {.low = 0.8, .high = 1.5});
  const at::Tensor g = gradient(s.loss_N, logps);
  EXPECT_EQ(at_place(g, 0), -1.5);
  EXPECT_EQ(at_place(g, 1), 0.8);
  EXPECT_TRUE(s.clipped_N.all().item<bool>());
}

TEST(DppoTv, ATokenWhoseProbabilityHasMovedTooFarItsWayIsDropped) {
  const at::Tensor logps = at::log(numbers({0.9, 0.9, 0.1, 0.1})).requires_grad_(true);
  const at::Tensor old = at::log(numbers({0.5, 0.5, 0.5, 0.5}));
  const TokenSurrogate s = dppo_surrogate(logps, old, numbers({1, -1, 1, -1}), {});
  const at::Tensor g = gradient(s.loss_N, logps);
  EXPECT_EQ(at_place(g, 0), 0);
  EXPECT_DOUBLE_EQ(at_place(g, 1), 1.8);
  EXPECT_DOUBLE_EQ(at_place(g, 2), -0.2);
  EXPECT_EQ(at_place(g, 3), 0);
}

}  // namespace
}  // namespace fulcrum
