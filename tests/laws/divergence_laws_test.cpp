// Laws of the tensor side of every divergence: autograd agrees with the generator, exact divergences are
// divergences.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/divergence/divergence.h"

namespace fulcrum {
namespace {

std::vector<std::shared_ptr<const Divergence>> every_divergence() {
  std::vector<std::shared_ptr<const Divergence>> out;
  for (const std::string& name : divergence_names()) {
    for (double alpha : {-0.5, 0.2, 0.5, 0.8, 2.0}) {
      if (name != "alpha_divergence" && alpha != 0.5) continue;
      out.push_back(*make_divergence(name, {.alpha = alpha}));
      out.push_back(out.back()->adjoint());
    }
  }
  return out;
}

at::Tensor log_ratios(at::ScalarType dtype) {
  return at::linspace(-40, 40, 161, at::kDouble).to(dtype).add(0.01).requires_grad_(true);
}

at::Tensor gradient_of(const at::Tensor& y, const at::Tensor& x) {
  x.mutable_grad() = at::Tensor();
  y.sum().backward();
  return x.grad().detach().clone();
}

TEST(DivergenceLaws, AutogradReturnsTheGeneratorsOwnDerivatives) {
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    for (at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const at::Tensor l = log_ratios(dtype);
      const at::Tensor of_value = gradient_of(d->value(l), l), of_slope = gradient_of(d->slope(l), l);
      const double shift = d->facts().slope_at_one;
      const at::Tensor of_centred = gradient_of(d->centred(l), l), of_score = gradient_of(d->score(l), l);
      const double tolerance = dtype == at::kDouble ? 1e-11 : 4e-5;
      for (int64_t i = 0; i < l.numel(); ++i) {
        const double x = l[i].item<double>();
        const double gradient = d->at_log_ratio(Quantity::kGradient, x);
        const double curvature = d->at_log_ratio(Quantity::kCurvature, x);
        if (dtype == at::kFloat && std::max(std::abs(gradient), curvature) > 1e37) continue;
        EXPECT_NEAR(of_value[i].item<double>(), gradient, tolerance * (1 + std::abs(gradient)));
        EXPECT_NEAR(of_slope[i].item<double>(), curvature, tolerance * (1 + curvature));
        EXPECT_NEAR(of_score[i].item<double>(), curvature, tolerance * (1 + curvature));
        const double centred = gradient - shift * std::exp(x);
        EXPECT_NEAR(of_centred[i].item<double>(), centred,
                    tolerance * (1 + std::abs(gradient) + std::abs(shift) * std::exp(x)));
      }
    }
  }
}

TEST(DivergenceLaws, ScoreDifferenceIsThatOfTheScoresWithTheirDerivatives) {
  for (const std::string& name : divergence_names()) {
    if (name == "total_variation") continue;
    SCOPED_TRACE(name);
    const auto f = make_divergence(name).value();
    const at::Tensor l = at::tensor({0.3, -2.0, 1.5}, at::kDouble).requires_grad_(true);
    const at::Tensor m = at::tensor({0.3, 0.7, -1.0}, at::kDouble).requires_grad_(true);
    const at::Tensor difference = f->score_difference(l, m), plain = f->score(l) - f->score(m);
    EXPECT_LT((difference - plain).abs().max().item<double>(), 1e-14);
    difference.sum().backward();
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_DOUBLE_EQ(l.grad()[i].item<double>(),
                       f->at_log_ratio(Quantity::kCurvature, l[i].item<double>()));
      EXPECT_DOUBLE_EQ(m.grad()[i].item<double>(),
                       -f->at_log_ratio(Quantity::kCurvature, m[i].item<double>()));
    }
  }
}

TEST(DivergenceLaws, TailIsLinearAboveItsEdgeAndItsGradientNeverVanishesThere) {
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    const at::Tensor l = at::tensor({-3.0, 5.0, 6.0, 90.0}, at::kFloat).requires_grad_(true);
    const at::Tensor y = d->centred_with_tail(l, 5.0);
    const at::Tensor g = gradient_of(y, l);
    EXPECT_TRUE(y.isfinite().all().item<bool>());
    EXPECT_EQ(g[1].item<float>(), g[3].item<float>());
    EXPECT_GT(g[3].item<float>(), 0.0F);
    const float step = y[2].item<float>() - y[1].item<float>();
    EXPECT_NEAR(step / g[1].item<float>(), 1.0F, 1e-4F);
    EXPECT_EQ(y[0].item<float>(), d->centred(l)[0].item<float>());
  }
}

TEST(DivergenceLaws, InverseSlopeUndoesSlopeOnTensors) {
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    if (!d->facts().invertible) continue;
    const at::Tensor l = at::linspace(-6, 6, 25, at::kDouble);
    EXPECT_TRUE(at::allclose(d->inverse_slope(d->slope(l)), l, 1e-9, 1e-9));
  }
}

TEST(DivergenceLaws, ASecondDerivativeIsRefusedInsteadOfBeingWrong) {
  const auto d = *make_divergence("js_divergence");
  const at::Tensor l = at::tensor({0.5}, at::kDouble).requires_grad_(true);
  EXPECT_THROW(d->value(l).sum().backward({}, {}, /*create_graph=*/true), c10::Error);
}

at::Tensor logits(int which) {
  at::Tensor x = at::arange(12, at::kDouble).reshape({2, 6});
  return which == 0 ? (x * 1.7).sin() * 2 : (x * 0.9 + 0.3).cos() * 3;
}

TEST(DivergenceLaws, ExactDivergenceIsPositiveZeroAtEqualityAndSwappedByTheAdjoint) {
  const at::Tensor pi = at::log_softmax(logits(0), -1), p = at::log_softmax(logits(1), -1);
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    const at::Tensor value = d->exact(pi, p);
    EXPECT_EQ(value.sizes(), at::IntArrayRef({2}));
    EXPECT_TRUE((value > 0).all().item<bool>());
    EXPECT_TRUE((d->exact(p, p) == 0).all().item<bool>());
    EXPECT_TRUE(at::allclose(d->adjoint()->exact(p, pi), value, 1e-10, 1e-12));
    // The definition, where nothing is extreme.
    EXPECT_TRUE(at::allclose((p.exp() * d->value(pi - p)).sum(-1), value, 1e-10, 1e-12));
  }
}

TEST(DivergenceLaws, ExactGradientMatchesCentralDifferences) {
  const at::Tensor p = at::log_softmax(logits(1), -1);
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    if (!d->facts().smooth) continue;
    const at::Tensor z = logits(0).requires_grad_(true);
    const at::Tensor gradient = gradient_of(d->exact(at::log_softmax(z, -1), p), z);
    for (int64_t i = 0; i < z.numel(); ++i) {
      const double h = 1e-5;
      at::Tensor up = z.detach().clone(), down = z.detach().clone();
      up.view(-1)[i] += h;
      down.view(-1)[i] -= h;
      const double numeric = (d->exact(at::log_softmax(up, -1), p) - d->exact(at::log_softmax(down, -1), p))
                                 .sum()
                                 .item<double>() /
                             (2 * h);
      EXPECT_NEAR(gradient.view(-1)[i].item<double>(), numeric, 1e-6 * (1 + std::abs(numeric)));
    }
  }
}

TEST(DivergenceLaws, ProbabilityZeroOnEitherSideGivesTheFacts) {
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const at::Tensor one = at::tensor({0.0, minus_infinity}, at::kDouble),
                   other = at::tensor({minus_infinity, 0.0}, at::kDouble);
  for (const auto& d : every_divergence()) {
    SCOPED_TRACE(d->name());
    const GeneratorFacts f = d->facts();
    // Disjoint supports: f(0) + f'(inf), in the centred form.
    const double expected = f.value_at_zero + f.slope_at_infinity;
    EXPECT_DOUBLE_EQ(d->exact(one, other).item<double>(), expected);
    // A token neither model can say costs nothing and gets no gradient.
    const at::Tensor pi = one.clone().requires_grad_(true);
    const at::Tensor value = d->exact(pi, one);
    EXPECT_EQ(value.item<double>(), 0.0);
    EXPECT_EQ(gradient_of(value, pi)[1].item<double>(), 0.0);
  }
}

// u = pi / p overflows before p becomes 0: what is finite must stay so.
TEST(DivergenceLaws, AProbabilityNearTheSmallestNumberIsAsGoodAsNone) {
  const double inf = std::numeric_limits<double>::infinity();
  const at::Tensor pi = at::tensor({std::log(0.3), std::log(0.7)}, at::kDouble).requires_grad_(true);
  for (const auto& d : every_divergence()) {
    if (d->facts().slope_at_infinity == inf) continue;
    SCOPED_TRACE(d->name());
    const at::Tensor none = d->exact(pi, at::tensor({-inf, 0.0}, at::kDouble));
    const at::Tensor nearly = d->exact(pi, at::tensor({-730.0, 0.0}, at::kDouble));
    EXPECT_NEAR(nearly.item<double>(), none.item<double>(), 1e-12 * (1 + none.item<double>()));
    EXPECT_TRUE(gradient_of(nearly, pi).isfinite().all().item<bool>());
  }
}

// Divergences without a limit there grow with the logarithm, and are no infinity yet.
TEST(DivergenceLaws, AProbabilityNearTheSmallestNumberIsNotNone) {
  const at::Tensor pi = at::tensor({std::log(0.3), std::log(0.7)}, at::kDouble).requires_grad_(true);
  const at::Tensor p = at::tensor({-730.0, 0.0}, at::kDouble);
  const double reverse = 0.3 * (std::log(0.3) + 730) + 0.7 * std::log(0.7), forward = -std::log(0.7);
  for (const auto& [name, expected] : {std::pair("reverse_kl", reverse), {"jeffreys", reverse + forward}}) {
    SCOPED_TRACE(name);
    const at::Tensor value = (*make_divergence(name))->exact(pi, p);
    EXPECT_NEAR(value.item<double>(), expected, 1e-10);
    const at::Tensor gradient = gradient_of(value, pi);
    // Through the softmax, as a step in a logit sees it.
    const auto at_step = [&](double step) {
      return (*make_divergence(name))
          ->exact(at::log_softmax(pi.detach() + at::tensor({step, 0.0}, at::kDouble), -1), p)
          .item<double>();
    };
    const double along = gradient[0].item<double>() - 0.3 * gradient.sum().item<double>();
    EXPECT_NEAR(along, (at_step(1e-5) - at_step(-1e-5)) / 2e-5, 1e-5);
  }
}

TEST(DivergenceLaws, ANumberThatIsNoneIsNotHidden) {
  const at::Tensor nan = at::tensor({std::nan(""), -1.0}, at::kDouble),
                   fine = at::tensor({-0.5, -1.0}, at::kDouble);
  for (const auto& d : every_divergence()) {
    EXPECT_TRUE(std::isnan(d->exact(fine, nan).item<double>())) << d->name();
    EXPECT_TRUE(std::isnan(d->exact(nan, fine).item<double>())) << d->name();
  }
}

TEST(DivergenceLaws, JensenShannonIsBoundedByLogTwo) {
  const auto d = *make_divergence("js_divergence", {.js_scale = 0.5});
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(
      d->exact(at::tensor({0.0, -inf}, at::kDouble), at::tensor({-inf, 0.0}, at::kDouble)).item<double>(),
      std::log(2.0));
}

}  // namespace
}  // namespace fulcrum
