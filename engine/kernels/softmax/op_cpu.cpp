#include "engine/kernels/softmax/op.h"

#include <limits>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/softmax/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

// weights = logits / temperature, -infinity past n; the largest of them.
float Scale(const float* logits, int64_t n, float temperature, float* weights) {
  const Floats d;
  const One one;
  const Vector t = hn::Set(d, temperature);
  Vector largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vector scaled = hn::Div(hn::LoadU(d, logits + i), t);
    hn::StoreU(scaled, d, weights + i);
    largest = AtLeast(largest, scaled);
  }
  float max = LargestLane(largest);
  for (; i < n; ++i) {
    hn::StoreU(hn::Div(hn::LoadU(one, logits + i), hn::Set(one, temperature)), one, weights + i);
    max = max < weights[i] ? weights[i] : max;
  }
  for (; i < round_up(n, kRowAlign); ++i) weights[i] = -std::numeric_limits<float>::infinity();
  return max;
}

SoftmaxTotal SoftmaxWeights(const float* logits, int64_t n, float temperature, float* weights,
                            double* block_sums) {
  const Floats d;
  SoftmaxTotal result{Scale(logits, n, temperature, weights), 0.0};
  const Vector max = hn::Set(d, result.max);
  for (int64_t begin = 0; begin < n; begin += kSoftmaxBlock) {
    const int64_t end = begin + kSoftmaxBlock < n ? begin + kSoftmaxBlock : n;
    Chains sum;
    for (int64_t i = begin; i < end; i += 16) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) {
        float* at = weights + i + j * kLanes;
        const Vector weight = Exp(d, hn::Sub(hn::LoadU(d, at), max));
        hn::StoreU(weight, d, at);
        sum.of[j] = hn::Add(sum.of[j], weight);
      }
    }
    block_sums[begin / kSoftmaxBlock] = sum.Total();
    result.total += block_sums[begin / kSoftmaxBlock];
  }
  return result;
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(SoftmaxWeights);
SoftmaxTotal softmax_weights(const float* logits, int64_t n, float temperature, float* weights,
                             double* block_sums) {
  return HWY_DYNAMIC_DISPATCH(SoftmaxWeights)(logits, n, temperature, weights, block_sums);
}

}  // namespace fulcrum::kernels
#endif
