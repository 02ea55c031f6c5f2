#include "engine/kernels/rope/op.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/rope/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

template <class D>
HWY_INLINE void Rotate(D d, float* low, float* high, const float* cosines, const float* sines) {
  const auto a = hn::LoadU(d, low), b = hn::LoadU(d, high);
  const auto c = hn::LoadU(d, cosines), s = hn::LoadU(d, sines);
  hn::StoreU(Fma(a, c, hn::Neg(hn::Mul(b, s))), d, low);
  hn::StoreU(Fma(b, c, hn::Mul(a, s)), d, high);
}

void RopeRow(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines) {
  const int64_t half = head_dim / 2;
  for (int64_t h = 0; h < heads; ++h, x += head_dim) {
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) Rotate(Floats(), x + i, x + half + i, cosines + i, sines + i);
    for (; i < half; ++i) Rotate(One(), x + i, x + half + i, cosines + i, sines + i);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(RopeRow);
void rope_row(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines) {
  HWY_DYNAMIC_DISPATCH(RopeRow)(x, heads, head_dim, cosines, sines);
}

}  // namespace fulcrum::kernels
#endif
