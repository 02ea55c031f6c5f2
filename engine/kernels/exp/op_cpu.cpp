#include "engine/kernels/exp/op.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/exp/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void ExpRow(const float* x, int64_t n, float* y) {
  const Floats d;
  const One one;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(Exp(d, hn::LoadU(d, x + i)), d, y + i);
  for (; i < n; ++i) hn::StoreU(Exp(one, hn::LoadU(one, x + i)), one, y + i);
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(ExpRow);
void exp_row(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(ExpRow)(x, n, y); }

}  // namespace fulcrum::kernels
#endif
