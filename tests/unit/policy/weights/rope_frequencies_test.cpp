#include "policy/weights/rope_frequencies.h"

#include <gtest/gtest.h>

#include <numbers>

namespace fulcrum {
namespace {

TEST(RopeFrequencies, Llama3ScalingKeepsShortWavesSlowsLongOnesAndBlendsBetween) {
  ModelSpec spec;
  spec.head_dim = 8;
  spec.rope_theta = 10000;
  // Plain frequencies 1, 0.1, 0.01, 0.001: waves of 6.28, 62.8, 628, 6283 tokens.
  spec.rope_scaling = RopeScaling{8, 1, 4, 1000};
  const std::vector<double> got = rope_frequencies(spec);
  ASSERT_EQ(got.size(), 4u);
  EXPECT_DOUBLE_EQ(got[0], 1.0);
  EXPECT_NEAR(got[1], 0.1, 1e-15);
  const double smooth = (1000 / (2 * std::numbers::pi / 0.01) - 1) / 3;  // between 1000 / 4 and 1000 / 1
  EXPECT_NEAR(got[2], (1 - smooth) * 0.01 / 8 + smooth * 0.01, 1e-15);
  EXPECT_NEAR(got[3], 0.001 / 8, 1e-15);
}

}  // namespace
}  // namespace fulcrum
