// The kernels that work on one row: each has the bits of its reference on every instruction set, and the
// value of its formula in double.
#include <cmath>
#include <limits>

#include "engine/kernels/exp/op.h"
#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rope/op.h"
#include "engine/kernels/silu_mul/op.h"
#include "engine/kernels/softmax/op.h"
#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> arguments_of_exp() {
  std::vector<float> x{0.0f,       -0.0f, -86.9f, -87.0f, -87.1f,   -1e30f,
                       -kInfinity, 87.9f, 88.0f,  90.0f,  kInfinity};
  for (float v = -87.0f; v < 88.0f; v += 0.0037f) x.push_back(v);
  return x;
}

TEST(Exp, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  const std::vector<float> x = arguments_of_exp();
  std::vector<float> expected;
  for (const float v : x) expected.push_back(reference::exp(v));
  on_every_target([&] {
    std::vector<float> y(x.size());
    exp_row(x.data(), static_cast<int64_t>(x.size()), y.data());
    expect_same_bits(expected.data(), y.data(), static_cast<int64_t>(x.size()), "exp");
  });
}

TEST(Exp, IsWithinOneUlp) {
  for (const float v : arguments_of_exp()) {
    if (v < -87.0f || v > 88.0f) continue;
    const double exact = std::exp(double{v});
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    EXPECT_LE(std::abs(reference::exp(v) - exact), ulp) << v;
  }
}

TEST(Exp, IsZeroFarBelowFiniteFarAboveAndKeepsNaN) {
  const float x[4] = {-kInfinity, -87.5f, kInfinity, std::numeric_limits<float>::quiet_NaN()};
  on_every_target([&] {
    float y[4];
    exp_row(x, 4, y);
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], reference::exp(88.0f));
    EXPECT_TRUE(std::isnan(y[3]));
  });
}

TEST(RmsNorm, HasTheBitsOfTheReferenceAndTheValueInDouble) {
  for (const int64_t n : {8, 64, 100, 576}) {
    AlignedFloats x(round_up(n, kRowAlign)), weight(round_up(n, kRowAlign));
    const AlignedFloats values = random_floats(n, 1), weights = random_floats(n, 2);
    std::copy_n(values.data(), n, x.data());
    std::copy_n(weights.data(), n, weight.data());
    std::vector<float> expected(static_cast<size_t>(n));
    reference::rmsnorm_row(x.data(), weight.data(), n, 1e-5f, expected.data());
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += double{x.data()[i]} * x.data()[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(expected[static_cast<size_t>(i)], x.data()[i] * scale * weight.data()[i], 2e-6);
    }
    on_every_target([&] {
      AlignedFloats y(round_up(n, kRowAlign));
      rmsnorm_row(x.data(), weight.data(), n, 1e-5f, y.data());
      expect_same_bits(expected.data(), y.data(), n, "rmsnorm");
    });
  }
}

TEST(Rope, HasTheBitsOfTheReferenceAndTurnsPairsByTheAngle) {
  for (const int64_t head_dim : {2, 8, 20, 32, 64}) {
    const int64_t half = head_dim / 2;
    std::vector<float> cosines, sines;
    for (int64_t i = 0; i < half; ++i) {
      cosines.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(i + 1))));
      sines.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(i + 1))));
    }
    const AlignedFloats x = random_floats(3 * head_dim, 5);
    AlignedFloats expected = random_floats(3 * head_dim, 5);
    reference::rope_row(expected.data(), 3, head_dim, cosines.data(), sines.data());
    for (int64_t i = 0; i < half; ++i) {
      const double angle = 0.3 * static_cast<double>(i + 1), a = x.data()[i], b = x.data()[i + half];
      EXPECT_NEAR(expected.data()[i], a * std::cos(angle) - b * std::sin(angle), 1e-6);
      EXPECT_NEAR(expected.data()[i + half], b * std::cos(angle) + a * std::sin(angle), 1e-6);
    }
    on_every_target([&] {
      AlignedFloats y = random_floats(3 * head_dim, 5);
      rope_row(y.data(), 3, head_dim, cosines.data(), sines.data());
      expect_same_bits(expected.data(), y.data(), 3 * head_dim, "rope");
    });
  }
}

TEST(SiluMul, HasTheBitsOfTheReferenceAndTheValueInDouble) {
  const int64_t n = 48;
  AlignedFloats gate = random_floats(n, 1, 20.0f);
  const AlignedFloats up = random_floats(n, 2);
  gate.data()[0] = 200.0f;
  gate.data()[1] = -200.0f;
  std::vector<float> expected(n);
  reference::silu_mul_row(gate.data(), up.data(), n, expected.data());
  for (size_t i = 0; i < n; ++i) {
    const double g = gate.data()[i], exact = g / (1 + std::exp(-g)) * up.data()[i];
    EXPECT_NEAR(expected[i], exact, 1e-6 * std::abs(exact) + 1e-30) << g;
  }
  on_every_target([&] {
    AlignedFloats y(n);
    silu_mul_row(gate.data(), up.data(), n, y.data());
    expect_same_bits(expected.data(), y.data(), n, "silu_mul");
  });
}

TEST(SoftmaxWeights, HasTheBitsOfTheReferenceAndTheSumInDouble) {
  for (const int64_t n : {1, 15, 16, 256, 257, 1000}) {
    const AlignedFloats logits = random_floats(n, 9, 3.0f);
    const size_t blocks = static_cast<size_t>(round_up(n, kSoftmaxBlock) / kSoftmaxBlock);
    AlignedFloats expected(n);
    std::vector<double> expected_sums(blocks);
    const SoftmaxTotal e =
        reference::softmax_weights(logits.data(), n, 0.7f, expected.data(), expected_sums.data());
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += std::exp(logits.data()[i] / double{0.7f} - e.max);
    EXPECT_NEAR(e.total, total, 1e-5 * total);
    on_every_target([&] {
      AlignedFloats weights(round_up(n, kRowAlign));
      std::vector<double> sums(blocks);
      const SoftmaxTotal got = softmax_weights(logits.data(), n, 0.7f, weights.data(), sums.data());
      expect_same_bits(expected.data(), weights.data(), n, "softmax");
      EXPECT_EQ(got.max, e.max);
      EXPECT_EQ(got.total, e.total);
      EXPECT_EQ(sums, expected_sums);
    });
  }
}

TEST(SoftmaxWeights, ShowsANonFiniteLogitInItsTotal) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    for (const int64_t at : {0, 20, 36}) {
      AlignedFloats logits = random_floats(37, 1), weights(48);
      double sums[1];
      logits.data()[at] = bad;
      on_every_target([&] {
        EXPECT_FALSE(std::isfinite(softmax_weights(logits.data(), 37, 1.0f, weights.data(), sums).total))
            << at;
      });
    }
  }
}

}  // namespace
}  // namespace fulcrum::kernels
