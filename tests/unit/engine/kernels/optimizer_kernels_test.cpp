#include <cmath>

#include "engine/kernels/adamw/op.h"
#include "engine/kernels/sum_of_squares/op.h"
#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

constexpr AdamwStep kStep{.beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-8f,
                          .rate = 1e-3f,
                          .kept = 0.9999f,
                          .root = 0.05f,
                          .gradient_scale = 0.7f};

// Weights and both moments; squares are not negative.
struct State {
  explicit State(int64_t n)
      : weights(random_floats(n, 1)), first(random_floats(n, 2)), second(random_floats(n, 3)) {
    for (int64_t i = 0; i < n; ++i) second.data()[i] = std::abs(second.data()[i]);
  }
  AlignedFloats weights, first, second;
};

TEST(AdamwKernel, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const int64_t n : {0, 1, 15, 16, 17, 1000}) {
    const AlignedFloats gradient = random_floats(n, 4);
    State expected(n);
    reference::adamw(kStep, gradient.data(), n, expected.weights.data(), expected.first.data(),
                     expected.second.data());
    on_every_target([&] {
      State s(n);
      adamw(kStep, gradient.data(), n, s.weights.data(), s.first.data(), s.second.data());
      expect_same_bits(expected.weights.data(), s.weights.data(), n, "weights");
      expect_same_bits(expected.first.data(), s.first.data(), n, "first");
      expect_same_bits(expected.second.data(), s.second.data(), n, "second");
    });
  }
}

TEST(AdamwKernel, IsTheFormulaInDouble) {
  const int64_t n = 100;
  const AlignedFloats gradient = random_floats(n, 4);
  const State before(n);
  State after(n);
  adamw(kStep, gradient.data(), n, after.weights.data(), after.first.data(), after.second.data());
  for (int64_t i = 0; i < n; ++i) {
    const double g = 0.7 * gradient.data()[i], m = 0.9 * before.first.data()[i] + 0.1 * g,
                 v = 0.999 * before.second.data()[i] + 0.001 * g * g;
    EXPECT_NEAR(after.weights.data()[i],
                0.9999 * before.weights.data()[i] - 1e-3 * m / (std::sqrt(v) / 0.05 + 1e-8), 1e-6);
  }
}

TEST(SumOfSquares, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const int64_t n : {0, 1, 16, 17, 1024, 1025, 5000}) {
    const AlignedFloats x = random_floats(n, 5);
    const double expected = reference::sum_of_squares(x.data(), n);
    on_every_target([&] { EXPECT_EQ(sum_of_squares(x.data(), n), expected) << n; });
  }
}

TEST(SumOfSquares, IsTheSumInDoubleAndKeepsWhatIsNotFinite) {
  AlignedFloats x = random_floats(100'000, 6);
  double exact = 0;
  for (int64_t i = 0; i < x.size(); ++i) exact += double{x.data()[i]} * x.data()[i];
  EXPECT_NEAR(sum_of_squares(x.data(), x.size()) / exact, 1, 1e-7);
  x.data()[99'999] = std::nanf("");
  EXPECT_TRUE(std::isnan(sum_of_squares(x.data(), x.size())));
}

}  // namespace
}  // namespace fulcrum::kernels
