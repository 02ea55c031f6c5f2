#include "engine/kernels/token_loss/op.h"

#include <cmath>
#include <limits>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/token_loss/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

inline constexpr int64_t kBlock = 256;

// Logits over temperature: a division, as the sampler's. `past`: the logit of what is past the row.
struct Scaled {
  explicit Scaled(const LogitsRow& row) : row_(row), temperature_(hn::Set(Floats(), row.temperature)) {}
  HWY_INLINE Vector operator()(int64_t at, float past) const {
    const Vector z = LoadPart(row_.logits + at, row_.n - at, past);
    return row_.temperature != 1 ? hn::Div(z, temperature_) : z;
  }
  HWY_INLINE float Own() const {
    const float z = row_.logits[row_.id];
    return row_.temperature != 1 ? z / row_.temperature : z;
  }

 private:
  const LogitsRow& row_;
  Vector temperature_;
};

float Largest(const LogitsRow& row, const Scaled& z) {
  const Floats d;
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  Vector largest = hn::Set(d, kNothing);
  for (int64_t at = 0; at < row.n; at += kLanes) largest = AtLeast(largest, z(at, kNothing));
  return LargestLane(largest);
}

template <bool kEntropy>
TokenLoss Loss(const LogitsRow& row) {
  const Floats d;
  const Scaled z(row);
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const float max = Largest(row, z);
  const Vector maxes = hn::Set(d, max), zero = hn::Zero(d);
  double total = 0, weighted = 0;
  for (int64_t begin = 0; begin < row.n; begin += kBlock) {
    const int64_t end = begin + kBlock < row.n ? begin + kBlock : row.n;
    Chains sum, product;
    for (int64_t i = begin; i < end; i += 16) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) {
        const Vector below = hn::Sub(z(i + j * kLanes, kNothing), maxes);
        const Vector weight = Exp(d, below);
        sum.of[j] = hn::Add(sum.of[j], weight);
        if constexpr (kEntropy) {
          const Vector finite = hn::IfThenElse(hn::Eq(weight, zero), zero, below);
          product.of[j] = Fma(weight, finite, product.of[j]);
        }
      }
    }
    total += sum.Total();
    if constexpr (kEntropy) weighted += product.Total();
  }
  const double log_total = std::log(total);
  const float own = z.Own();
  TokenLoss out;
  out.logp = static_cast<float>(double{own - max} - log_total);
  out.lse = double{max} + log_total;
  if constexpr (kEntropy) out.entropy = static_cast<float>(log_total - weighted / total);
  return out;
}

TokenLoss LossOf(const LogitsRow& row, bool with_entropy) {
  return with_entropy ? Loss<true>(row) : Loss<false>(row);
}

void LossBackward(const LogitsRow& row, double lse, float coefficient) {
  const Floats d;
  const Scaled z(row);
  const float scaled = coefficient / row.temperature;
  const float own = z.Own();
  const Shift below(lse);
  const Vector factor = hn::Set(d, -scaled);
  for (int64_t at = 0; at < row.n; at += kLanes) {
    const Vector gradient = hn::Mul(Exp(d, below(z(at, 0))), factor);
    StorePart(gradient, row.logits + at, row.n - at);
  }
  float one[kLanes];
  hn::StoreU(Exp(d, below(hn::Set(d, own))), d, one);
  row.logits[row.id] = scaled * (1.0f - one[0]);
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(LossOf);
HWY_EXPORT(LossBackward);
TokenLoss token_loss(const LogitsRow& row, bool with_entropy) {
  return HWY_DYNAMIC_DISPATCH(LossOf)(row, with_entropy);
}
void token_loss_backward(const LogitsRow& row, double lse, float coefficient) {
  HWY_DYNAMIC_DISPATCH(LossBackward)(row, lse, coefficient);
}

}  // namespace fulcrum::kernels
#endif
