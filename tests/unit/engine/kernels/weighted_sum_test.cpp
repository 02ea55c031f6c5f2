#include "engine/kernels/weighted_sum/op.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

std::vector<AlignedFloats> models(int64_t n) {
  std::vector<AlignedFloats> out;
  for (uint64_t m = 0; m < 3; ++m) out.push_back(random_floats(n, 10 + m));
  return out;
}

std::vector<WeightedInput> inputs_of(const std::vector<AlignedFloats>& models, int64_t offset = 0) {
  const double weights[] = {0.2, 0.5, -0.31};
  std::vector<WeightedInput> out;
  for (size_t m = 0; m < models.size(); ++m) out.push_back({models[m].data() + offset, weights[m]});
  return out;
}

TEST(WeightedSumKernel, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const int64_t n : {0, 1, 7, 8, 9, 1000}) {
    for (const int64_t offset : {0, 1}) {
      const std::vector<AlignedFloats> numbers = models(n + offset);
      for (const size_t count : {1, 2, 3}) {
        std::vector<WeightedInput> inputs = inputs_of(numbers, offset);
        inputs.resize(count);
        AlignedFloats expected(n), got(n);
        EXPECT_TRUE(reference::weighted_sum(inputs, n, expected.data()));
        on_every_target([&] {
          EXPECT_TRUE(weighted_sum(inputs, n, got.data()));
          expect_same_bits(expected.data(), got.data(), n, "sum");
        });
      }
    }
  }
}

TEST(WeightedSumKernel, ANumberThatIsNotFiniteIsSeenWhereverItStands) {
  constexpr int64_t kN = 37;
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (int64_t at = 0; at < kN; ++at) {
      std::vector<AlignedFloats> numbers = models(kN);
      numbers[1].data()[at] = bad;
      AlignedFloats out(kN);
      on_every_target([&] { EXPECT_FALSE(weighted_sum(inputs_of(numbers), kN, out.data())) << at; });
    }
  }
  // Finite numbers whose sum fp32 does not hold.
  AlignedFloats large(kN), out(kN);
  for (int64_t i = 0; i < kN; ++i) large.data()[i] = 3e38f;
  const WeightedInput twice[] = {{large.data(), 2}};
  on_every_target([&] { EXPECT_FALSE(weighted_sum(twice, kN, out.data())); });
}

}  // namespace
}  // namespace fulcrum::kernels
