// The row kernels of the backward pass: each has the bits of its reference on every instruction set, and the
// gradient of its formula in double.
#include <cmath>
#include <limits>

#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rmsnorm_grad/op.h"
#include "engine/kernels/silu_mul/op.h"
#include "engine/kernels/silu_mul_grad/op.h"
#include "engine/kernels/token_loss/op.h"
#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

using Row = std::vector<float>;

Row random_row(int64_t n, uint64_t seed, float scale = 1) {
  const AlignedFloats values = random_floats(n, seed, scale);
  return {values.data(), values.data() + n};
}

int64_t length(const Row& x) { return static_cast<int64_t>(x.size()); }

void expect_same(const Row& a, const Row& b, const char* what) {
  expect_same_bits(a.data(), b.data(), length(a), what);
}

// d f / d x[i] of a function in double.
template <class F>
double slope(F f, const Row& at, size_t i) {
  std::vector<double> up(at.begin(), at.end()), down = up;
  up[i] += 1e-5;
  down[i] -= 1e-5;
  return (f(up) - f(down)) / 2e-5;
}

struct NormGradient {
  Row y, dx, d_weight;
};

NormGradient norm_gradient(const Row& x, const Row& weight, const Row& dy,
                           decltype(rmsnorm_row_backward)* backward) {
  NormGradient out{Row(x.size()), Row(x.size(), 0.25f), Row(x.size(), -1.0f)};
  backward({x.data(), weight.data(), length(x), 1e-5f}, dy.data(), out.y.data(), out.dx.data(),
           out.d_weight.data());
  return out;
}

TEST(RmsNormBackward, HasTheBitsOfTheReferenceAndGivesTheForwardPassAgain) {
  for (const int64_t n : {8, 64, 100, 576}) {
    const Row x = random_row(n, 1), weight = random_row(n, 2), dy = random_row(n, 3);
    const NormGradient expected = norm_gradient(x, weight, dy, reference::rmsnorm_row_backward);
    Row forward(x.size());
    rmsnorm_row(x.data(), weight.data(), n, 1e-5f, forward.data());
    expect_same(forward, expected.y, "y");
    on_every_target([&] {
      const NormGradient got = norm_gradient(x, weight, dy, rmsnorm_row_backward);
      expect_same(expected.y, got.y, "y");
      expect_same(expected.dx, got.dx, "dx");
      expect_same(expected.d_weight, got.d_weight, "d_weight");
    });
  }
}

TEST(RmsNormBackward, AddsTheGradientOfTheFormula) {
  const int64_t n = 36;
  const Row x = random_row(n, 1), weight = random_row(n, 2), dy = random_row(n, 3);
  const NormGradient got = norm_gradient(x, weight, dy, rmsnorm_row_backward);
  const auto loss = [&](const auto& from, const auto& scale) {
    double squares = 0, sum = 0;
    for (size_t i = 0; i < x.size(); ++i) squares += from[i] * from[i];
    for (size_t i = 0; i < x.size(); ++i)
      sum += dy[i] * from[i] * scale[i] / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    return sum;
  };
  for (const size_t i : {0u, 7u, 16u, 35u}) {
    const std::vector<double> exact_x(x.begin(), x.end());
    EXPECT_NEAR(got.dx[i] - 0.25, slope([&](const auto& v) { return loss(v, weight); }, x, i), 2e-6);
    EXPECT_NEAR(got.d_weight[i] + 1, slope([&](const auto& v) { return loss(exact_x, v); }, weight, i), 2e-6);
  }
}

struct GateGradient {
  Row d_gate, d_up, y;
};

GateGradient gate_gradient(const Row& gate, const Row& up, const Row& dy,
                           decltype(silu_mul_row_backward)* backward) {
  GateGradient out{Row(gate.size()), Row(gate.size()), dy};
  backward(gate.data(), up.data(), out.y.data(), length(gate), out.d_gate.data(), out.d_up.data(),
           out.y.data());
  return out;
}

TEST(SiluMulBackward, HasTheBitsOfTheReferenceAndGivesTheForwardPassAgain) {
  for (const int64_t n : {5, 16, 100}) {
    Row gate = random_row(n, 1, 4), up = random_row(n, 2), dy = random_row(n, 3);
    gate[0] = 200;
    gate[1] = -200;
    const GateGradient expected = gate_gradient(gate, up, dy, reference::silu_mul_row_backward);
    Row forward(gate.size());
    silu_mul_row(gate.data(), up.data(), n, forward.data());
    expect_same(forward, expected.y, "y");
    for (const Row* row : {&expected.d_gate, &expected.d_up, &expected.y}) {
      for (const float v : *row) EXPECT_TRUE(std::isfinite(v));
    }
    on_every_target([&] {
      const GateGradient got = gate_gradient(gate, up, dy, silu_mul_row_backward);
      expect_same(expected.d_gate, got.d_gate, "d_gate");
      expect_same(expected.d_up, got.d_up, "d_up");
      expect_same(expected.y, got.y, "y");
    });
  }
}

TEST(SiluMulBackward, IsTheGradientOfTheFormula) {
  const Row gate = random_row(20, 1, 2), up = random_row(20, 2), dy = random_row(20, 3);
  const GateGradient got = gate_gradient(gate, up, dy, silu_mul_row_backward);
  for (size_t i = 0; i < gate.size(); ++i) {
    const auto value = [&](double g, double u) { return dy[i] * g / (1 + std::exp(-g)) * u; };
    EXPECT_NEAR(got.d_gate[i], slope([&](const auto& v) { return value(v[i], up[i]); }, gate, i), 3e-6);
    EXPECT_NEAR(got.d_up[i], slope([&](const auto& v) { return value(gate[i], v[i]); }, up, i), 3e-6);
  }
}

TEST(TokenLoss, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const int64_t n : {1, 5, 16, 250, 257, 1003}) {
    for (const float temperature : {1.0f, 0.7f}) {
      Row logits = random_row(n, 4, 3);
      if (n > 16) logits[9] = -std::numeric_limits<float>::infinity();
      const LogitsRow row{logits.data(), n, temperature, static_cast<int32_t>(n / 2)};
      const TokenLoss expected = reference::token_loss(row, true);
      Row expected_gradient = logits;
      reference::token_loss_backward({expected_gradient.data(), n, temperature, row.id}, expected.lse, -0.3f);
      on_every_target([&] {
        const TokenLoss got = token_loss(row, true), plain = token_loss(row, false);
        expect_same({expected.logp, expected.entropy, expected.logp}, {got.logp, got.entropy, plain.logp},
                    "values");
        EXPECT_EQ(got.lse, expected.lse);
        EXPECT_EQ(plain.lse, expected.lse);
        Row gradient = logits;
        token_loss_backward({gradient.data(), n, temperature, row.id}, expected.lse, -0.3f);
        expect_same(expected_gradient, gradient, "gradient");
      });
    }
  }
}

TEST(TokenLoss, IsTheFormulaInDoubleAndSoIsItsGradient) {
  const int64_t n = 700;
  const double temperature = 0.7;
  Row logits = random_row(n, 5, 3);
  const LogitsRow row{logits.data(), n, 0.7f, 123};
  const auto lse = [&](const std::vector<double>& z) {
    double sum = 0;
    for (const double v : z) sum += std::exp(v / temperature);
    return std::log(sum);
  };
  const std::vector<double> z(logits.begin(), logits.end());
  const auto logp = [&](const std::vector<double>& v) { return v[123] / temperature - lse(v); };
  double entropy = 0;
  for (const double v : z) entropy -= std::exp(v / temperature - lse(z)) * (v / temperature - lse(z));
  const TokenLoss got = token_loss(row, true);
  EXPECT_NEAR(got.logp, logp(z), 3e-6);
  EXPECT_NEAR(got.lse, lse(z), 3e-6);
  EXPECT_NEAR(got.entropy, entropy, 3e-6);
  Row gradient = logits;
  token_loss_backward({gradient.data(), n, 0.7f, 123}, got.lse, 2);
  for (const size_t i : {0u, 122u, 123u, 699u}) EXPECT_NEAR(gradient[i], 2 * slope(logp, logits, i), 3e-6);
}

TEST(TokenLoss, ATokenWithoutProbabilityHasNoneAndNaNStays) {
  Row logits{0, -std::numeric_limits<float>::infinity(), 1};
  EXPECT_EQ(token_loss({logits.data(), 3, 1, 1}, true).logp, -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isfinite(token_loss({logits.data(), 3, 1, 0}, true).entropy));
  logits[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(token_loss({logits.data(), 3, 1, 0}, false).logp));
}

}  // namespace
}  // namespace fulcrum::kernels
