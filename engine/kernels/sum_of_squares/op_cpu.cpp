#include "engine/kernels/sum_of_squares/op.h"

#include <algorithm>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/sum_of_squares/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

double SumOfSquares(const float* x, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kSquaresBlock) {
    const int64_t end = std::min(begin + kSquaresBlock, n);
    Chains chains;
    for (int64_t i = begin; i < end; i += 16) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) {
        const Vector v = LoadPart(x + i + j * kLanes, end - i - j * kLanes);
        chains.of[j] = Fma(v, v, chains.of[j]);
      }
    }
    total += double{chains.Total()};
  }
  return total;
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(SumOfSquares);
double sum_of_squares(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(SumOfSquares)(x, n); }

}  // namespace fulcrum::kernels
#endif
