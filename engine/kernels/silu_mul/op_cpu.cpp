#include "engine/kernels/silu_mul/op.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/silu_mul/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void SiluMulRow(const float* gate, const float* up, int64_t n, float* y) {
  const Floats d;
  const Vector one = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vector g = LoadPart(gate + i, n - i);
    const Vector silu = hn::Div(g, hn::Add(one, Exp(d, hn::Neg(g))));
    StorePart(hn::Mul(silu, LoadPart(up + i, n - i)), y + i, n - i);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(SiluMulRow);
void silu_mul_row(const float* gate, const float* up, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(SiluMulRow)(gate, up, n, y);
}

}  // namespace fulcrum::kernels
#endif
