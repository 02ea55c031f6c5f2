#include "engine/kernels/simd.h"

#include <gtest/gtest.h>

namespace fulcrum::kernels {
namespace {

TEST(Simd, SaysWhenNoInstructionSetServes) {
  ASSERT_TRUE(hold_to_target("SCALAR") || hold_to_target("EMU128")) << "compiled for every machine";
  EXPECT_TRUE(is_emulated());
  if (hold_to_target("AVX2")) {
    EXPECT_FALSE(is_emulated());
  }
  EXPECT_FALSE(hold_to_target("none")) << "back to what the machine chooses";
}

}  // namespace
}  // namespace fulcrum::kernels
