#include "engine/kernels/rmsnorm/op.h"

#include <cmath>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/rmsnorm/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void RmsNormRow(const float* x, const float* weight, int64_t n, float epsilon, float* y) {
  const Floats d;
  Vector chains[kRowVectors];
#pragma GCC unroll 16
  for (int j = 0; j < kRowVectors; ++j) chains[j] = hn::Zero(d);
  for (int64_t i = 0; i < n; i += 16) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      const Vector v = hn::LoadU(d, x + i + j * kLanes);
      chains[j] = Fma(v, v, chains[j]);
    }
  }
  float sums[16];
  for (int j = 0; j < kRowVectors; ++j) hn::StoreU(chains[j], d, sums + j * kLanes);
  const float scale = 1.0f / std::sqrt(Sum16(sums) / static_cast<float>(n) + epsilon);
  const Vector scales = hn::Set(d, scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), scales), hn::LoadU(d, weight + i)), d, y + i);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(RmsNormRow);
void rmsnorm_row(const float* x, const float* weight, int64_t n, float epsilon, float* y) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, weight, n, epsilon, y);
}

}  // namespace fulcrum::kernels
#endif
