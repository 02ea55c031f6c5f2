#include "engine/kernels/rmsnorm_grad/op.h"

#include <cmath>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/rmsnorm_grad/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

void RmsNormRowBackward(const RmsNormRow& row, const float* dy, float* y, float* dx, float* d_weight) {
  const Floats d;
  const int64_t n = row.n;
  Chains squares, products;
  for (int64_t i = 0; i < n; i += 16) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      const int64_t at = i + j * kLanes;
      const Vector x = LoadPart(row.x + at, n - at);
      const Vector g = hn::Mul(LoadPart(dy + at, n - at), LoadPart(row.weight + at, n - at));
      squares.of[j] = Fma(x, x, squares.of[j]);
      products.of[j] = Fma(g, x, products.of[j]);
    }
  }
  const auto count = static_cast<float>(n);
  const float scale = 1.0f / std::sqrt(squares.Total() / count + row.epsilon);
  const Vector r = hn::Set(d, scale), mean = hn::Set(d, products.Total() * scale / count);
  for (int64_t at = 0; at < n; at += kLanes) {
    const int64_t left = n - at;
    const Vector weight = LoadPart(row.weight + at, left), up = LoadPart(dy + at, left);
    const Vector normed = hn::Mul(LoadPart(row.x + at, left), r);
    const Vector through = hn::Sub(hn::Mul(up, weight), hn::Mul(normed, mean));
    StorePart(Fma(through, r, LoadPart(dx + at, left)), dx + at, left);
    StorePart(Fma(up, normed, LoadPart(d_weight + at, left)), d_weight + at, left);
    StorePart(hn::Mul(normed, weight), y + at, left);
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(RmsNormRowBackward);
void rmsnorm_row_backward(const RmsNormRow& row, const float* dy, float* y, float* dx, float* d_weight) {
  HWY_DYNAMIC_DISPATCH(RmsNormRowBackward)(row, dy, y, dx, d_weight);
}

}  // namespace fulcrum::kernels
#endif
