#include "engine/kernels/adamw/op.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/adamw/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void Adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
           float* second) {
  const Floats d;
  const Vector beta1 = hn::Set(d, step.beta1), beta2 = hn::Set(d, step.beta2);
  const Vector new1 = hn::Set(d, 1 - step.beta1), new2 = hn::Set(d, 1 - step.beta2);
  const Vector epsilon = hn::Set(d, step.epsilon), root = hn::Set(d, step.root);
  const Vector back = hn::Set(d, -step.rate), kept = hn::Set(d, step.kept);
  const Vector scale = hn::Set(d, step.gradient_scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const Vector g = hn::Mul(scale, LoadPart(gradient + i, left));
    const Vector m = Fma(beta1, LoadPart(first + i, left), hn::Mul(new1, g));
    const Vector v = Fma(beta2, LoadPart(second + i, left), hn::Mul(hn::Mul(new2, g), g));
    const Vector slope = hn::Div(m, hn::Add(hn::Div(hn::Sqrt(v), root), epsilon));
    StorePart(m, first + i, left);
    StorePart(v, second + i, left);
    StorePart(Fma(back, slope, hn::Mul(kept, LoadPart(weights + i, left))), weights + i, left);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(Adamw);
void adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
           float* second) {
  HWY_DYNAMIC_DISPATCH(Adamw)(step, gradient, n, weights, first, second);
}

}  // namespace fulcrum::kernels
#endif
