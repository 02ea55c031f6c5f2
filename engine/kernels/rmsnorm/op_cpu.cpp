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
  Chains squares;
  for (int64_t i = 0; i < n; i += 16) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      const Vector v = LoadPart(x + i + j * kLanes, n - i - j * kLanes);
      squares.of[j] = Fma(v, v, squares.of[j]);
    }
  }
  const float scale = 1.0f / std::sqrt(squares.Total() / static_cast<float>(n) + epsilon);
  const Vector scales = hn::Set(d, scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vector normed = hn::Mul(LoadPart(x + i, n - i), scales);
    StorePart(hn::Mul(normed, LoadPart(weight + i, n - i)), y + i, n - i);
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
