// The few vector helpers the kernels share. Included by the op_cpu.cpp files inside Highway's loop over
// targets, once for each of them, so its guard is Highway's toggle instead of `#pragma once`. Vectors hold at
// most 16 floats; what must not depend on the width works on a Row16: 16 floats in as many vectors as they
// need.
#if defined(FULCRUM_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FULCRUM_KERNELS_SIMD_INL_H_
#undef FULCRUM_KERNELS_SIMD_INL_H_
#else
#define FULCRUM_KERNELS_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>

#include "engine/kernels/aligned.h"
#include "engine/kernels/exp/constants.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using One = hn::CappedTag<float, 1>;
using Vector = hn::Vec<Floats>;

inline constexpr int kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;
inline constexpr int kRowVectors = 16 / kLanes;  // vectors in a Row16

// a * b + c, rounded once.
template <class V>
HWY_INLINE V Fma(V a, V b, V c) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  // The emulation rounds twice; libm's fma is slow there, but the bits are the same everywhere.
  const hn::DFromV<V> d;
  float x[kLanes], y[kLanes], z[kLanes];
  hn::StoreU(a, d, x);
  hn::StoreU(b, d, y);
  hn::StoreU(c, d, z);
  for (size_t i = 0; i < hn::Lanes(d); ++i) z[i] = std::fma(x[i], y[i], z[i]);
  return hn::LoadU(d, z);
#else
  return hn::MulAdd(a, b, c);
#endif
}

// The larger one; `value` where it is NaN, so that a NaN is never lost.
template <class V>
HWY_INLINE V AtLeast(V value, V low) {
  return hn::IfThenElse(hn::Lt(value, low), low, value);
}

// The bits of the nearest bf16 number, ties to the even one, in the upper halves; a NaN stays one.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Floats>> Bf16Bits(Vector x) {
  const hn::RebindToUnsigned<Floats> du;
  const auto bits = hn::BitCast(du, x);
  const auto lowest = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::Add(bits, hn::Add(lowest, hn::Set(du, 0x7FFFu)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x00400000u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), quiet, rounded);
  return hn::And(chosen, hn::Set(du, 0xFFFF0000u));
}

// e^x as engine/kernels/exp/op.h defines it.
template <class D>
HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> x) {
  const hn::RebindToSigned<D> di;
  const auto high = hn::Set(d, exp_constants::kHigh), low = hn::Set(d, exp_constants::kLow);
  const auto inside = AtLeast(hn::IfThenElse(hn::Gt(x, high), high, x), low);
  const auto n_int = hn::NearestInt(hn::Mul(inside, hn::Set(d, exp_constants::kLog2E)));
  const auto n = hn::ConvertTo(d, n_int);
  auto r = Fma(n, hn::Set(d, -exp_constants::kLn2High), inside);
  r = Fma(n, hn::Set(d, -exp_constants::kLn2Low), r);
  auto p = hn::Set(d, exp_constants::kTaylor[0]);
  for (int i = 1; i < exp_constants::kTerms; ++i) p = Fma(p, r, hn::Set(d, exp_constants::kTaylor[i]));
  const auto scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n_int, hn::Set(di, 127))));
  return hn::IfThenZeroElse(hn::Lt(x, low), hn::Mul(p, scale));
}

// The same by its full name, where Highway's own Exp is included too.
HWY_INLINE Vector ExpOf(Vector x) { return fulcrum::kernels::HWY_NAMESPACE::Exp(Floats(), x); }

// Rows that end between vectors: `left` floats of the row are left at x. What is past them is read as `past`
// and not written.
HWY_INLINE Vector LoadPart(const float* x, int64_t left, float past = 0) {
  const Floats d;
  if (left >= kLanes) return hn::LoadU(d, x);
  float part[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) part[i] = i < left ? x[i] : past;
  return hn::LoadU(d, part);
}
HWY_INLINE void StorePart(Vector v, float* x, int64_t left) {
  const Floats d;
  if (left >= kLanes) {
    hn::StoreU(v, d, x);
    return;
  }
  float part[kLanes];
  hn::StoreU(v, d, part);
  for (int64_t i = 0; i < left; ++i) x[i] = part[i];
}

// x - s for an s with more digits than a float has: in two parts, the first of which is exact near s.
class Shift {
 public:
  HWY_INLINE explicit Shift(double s)
      : high_(hn::Set(Floats(), static_cast<float>(s))),
        low_(hn::Set(Floats(), static_cast<float>(s - static_cast<double>(static_cast<float>(s))))) {}
  HWY_INLINE Vector operator()(Vector x) const { return hn::Sub(hn::Sub(x, high_), low_); }

 private:
  Vector high_, low_;
};

// The largest number of a vector; where one is NaN, any of them.
HWY_INLINE float LargestLane(Vector v) { return hn::GetLane(hn::MaxOfLanes(Floats(), v)); }

// The sum of 16 floats: halves are added until one is left.
HWY_INLINE float Sum16(const float* x) {
  float half[8];
  for (int i = 0; i < 8; ++i) half[i] = x[i] + x[i + 8];
  for (int i = 0; i < 4; ++i) half[i] += half[i + 4];
  return (half[0] + half[2]) + (half[1] + half[3]);
}

// Sixteen chains, element i of a row in chain i mod 16.
struct Chains {
  Vector of[kRowVectors];
  HWY_INLINE Chains() {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) of[j] = hn::Zero(Floats());
  }
  HWY_INLINE float Total() const {
    float sums[16];
    for (int j = 0; j < kRowVectors; ++j) hn::StoreU(of[j], Floats(), sums + j * kLanes);
    return Sum16(sums);
  }
};

// The sums of a tile of a product: rows of vectors, in registers while the tile runs.
template <int kRows, int kVectors>
struct TileSums {
  Vector of[kRows][kVectors];
  HWY_INLINE TileSums() {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) of[r][j] = hn::Zero(Floats());
    }
  }
  HWY_INLINE void LoadFrom(const float* x, int64_t x_stride) {
    const Floats d;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) of[r][j] = hn::LoadU(d, x + r * x_stride + j * kLanes);
    }
  }
  HWY_INLINE void StoreTo(float* y, int64_t y_stride) const {
    const Floats d;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) hn::StoreU(of[r][j], d, y + r * y_stride + j * kLanes);
    }
  }
  HWY_INLINE void AddTo(float* y, int64_t y_stride) const {
    const Floats d;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        float* at = y + r * y_stride + j * kLanes;
        hn::StoreU(hn::Add(hn::LoadU(d, at), of[r][j]), d, at);
      }
    }
  }
};

// The scores of a query become weights e^((score - max) * scale), 0 from the n-th to the next multiple of 16.
struct Weighed {
  float max, total;  // of the scores; of the weights
};
HWY_INLINE Weighed WeighScores(float* scores, int64_t n, float scale) {
  const Floats d;
  const int64_t padded = round_up(n, 16);
  for (int64_t i = n; i < padded; ++i) scores[i] = -HUGE_VALF;
  Vector largest = hn::LoadU(d, scores);
  for (int64_t i = kLanes; i < padded; i += kLanes) largest = AtLeast(largest, hn::LoadU(d, scores + i));
  const float max = LargestLane(largest);
  const Vector maxes = hn::Set(d, max), scales = hn::Set(d, scale);
  Chains total;
  for (int64_t i = 0; i < padded; i += 16) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      float* at = scores + i + j * kLanes;
      const Vector weight = ExpOf(hn::Mul(hn::Sub(hn::LoadU(d, at), maxes), scales));
      hn::StoreU(weight, d, at);
      total.of[j] = hn::Add(total.of[j], weight);
    }
  }
  return {max, total.Total()};
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
