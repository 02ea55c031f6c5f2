#include "engine/kernels/silu_mul_grad/op.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/silu_mul_grad/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void SiluMulRowBackward(const float* gate, const float* up, const float* dy, int64_t n, float* d_gate,
                        float* d_up, float* y) {
  const Floats d;
  const Vector one = hn::Set(d, 1.0f);
  for (int64_t at = 0; at < n; at += kLanes) {
    const int64_t left = n - at;
    const Vector g = LoadPart(gate + at, left), u = LoadPart(up + at, left), dv = LoadPart(dy + at, left);
    const Vector below = hn::Add(one, Exp(d, hn::Neg(g)));
    const Vector s = hn::Div(one, below), silu = hn::Div(g, below);
    const Vector slope = hn::Mul(s, Fma(g, hn::Sub(one, s), one));
    StorePart(hn::Mul(hn::Mul(dv, u), slope), d_gate + at, left);
    StorePart(hn::Mul(dv, silu), d_up + at, left);
    StorePart(hn::Mul(silu, u), y + at, left);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(SiluMulRowBackward);
void silu_mul_row_backward(const float* gate, const float* up, const float* dy, int64_t n, float* d_gate,
                           float* d_up, float* y) {
  HWY_DYNAMIC_DISPATCH(SiluMulRowBackward)(gate, up, dy, n, d_gate, d_up, y);
}

}  // namespace fulcrum::kernels
#endif
