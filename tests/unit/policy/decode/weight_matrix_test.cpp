#include "policy/decode/weight_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fulcrum {
namespace {

using kernels::AlignedFloats;

// Large enough to be shared, with a panel that is not full.
TEST(WeightMatrix, GivesTheSameBitsHoweverManyHelp) {
  constexpr int64_t kOutputs = 1000, kInputs = 301, kRows = 3, kStride = 304;
  std::vector<float> weights(kOutputs * kInputs);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(0.37f * static_cast<float>(i));
  AlignedFloats x(kRows * kStride);
  for (int64_t i = 0; i < x.size(); ++i) x.data()[i] = std::cos(0.11f * static_cast<float>(i));
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    WeightMatrix w(dtype, kOutputs, kInputs);
    w.set_outputs(0, kOutputs, weights.data());
    const auto product = [&](Workers* helpers) {
      AlignedFloats y(kRows * w.padded_outputs());
      kernels::Aligned<uint16_t> scratch(kRows * kStride);
      w.add_product(x.data(), kStride, kRows, y.data(), w.padded_outputs(), scratch.data(), helpers);
      return std::vector<float>(y.data(), y.data() + y.size());
    };
    const std::vector<float> alone = product(nullptr);
    EXPECT_NE(alone[5], 0);
    for (const int64_t threads : {1, 2, 3}) {
      Workers workers(threads);
      EXPECT_EQ(product(&workers), alone) << threads;
      // As the decoder does it: from a piece of work that is not divided.
      workers.run(1, [&](int64_t) { EXPECT_EQ(product(&workers), alone) << threads; });
    }
  }
}

}  // namespace
}  // namespace fulcrum
