// What the kernel tests share: random rows, comparison by bits, and every instruction set this machine can
// run.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "engine/core/rng.h"
#include "engine/kernels/aligned.h"
#include "engine/kernels/targets.h"

#include <hwy/targets.h>

namespace fulcrum::kernels {

inline AlignedFloats random_floats(int64_t n, uint64_t seed, float scale = 1.0f) {
  AlignedFloats out(n);
  Rng rng(seed, Purpose::kTest);
  for (int64_t i = 0; i < n; ++i) out.data()[i] = static_cast<float>(rng.normal()) * scale;
  return out;
}

inline void expect_same_bits(const float* a, const float* b, int64_t n, const char* what) {
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << what << ", element " << i << ": " << a[i] << " and " << b[i];
  }
}

// Runs `body` on every instruction set that is both compiled in and on this machine, the emulation included.
template <class Body>
void on_every_target(Body body) {
  for (const int64_t target :
       {int64_t{HWY_AVX3}, int64_t{HWY_AVX2}, int64_t{HWY_NEON}, int64_t{HWY_EMU128}}) {
    hwy::SetSupportedTargetsForTest(0);
    if ((hwy::SupportedTargets() & target) == 0 && target != HWY_EMU128) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    SCOPED_TRACE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace fulcrum::kernels
