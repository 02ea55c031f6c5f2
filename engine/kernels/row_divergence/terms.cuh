// What one token adds to D_f(pi || p) and to its gradient, in fp32 for rows whose log-ratios are near 0 and
// in double for the others. Generators are the table's own text (engine/divergence/generators). Called by
// op_cuda.cu alone.
#pragma once

#include <type_traits>

#include "engine/divergence/generators/adaptors.h"
#include "engine/divergence/generators/alpha_divergence.h"
#include "engine/divergence/generators/chi_po.h"
#include "engine/divergence/generators/chi_squared.h"
#include "engine/divergence/generators/forward_kl.h"
#include "engine/divergence/generators/hellinger.h"
#include "engine/divergence/generators/jeffreys.h"
#include "engine/divergence/generators/js_divergence.h"
#include "engine/divergence/generators/reverse_kl.h"
#include "engine/divergence/generators/total_variation.h"
#include "engine/kernels/device/launch.h"
#include "engine/kernels/device/table.h"

namespace fulcrum::kernels::cuda {

inline constexpr float kNear = 20;          // log-ratios within it keep everything in fp32's range
inline constexpr double kLargestAlpha = 3;  // and orders of alpha within this

// Calls f with the centred generator of an entry of the table.
template <class F>
int with_generator(const DivergenceRows& in, const F& f) {
  using namespace generators;
  const DivergenceOptions& o = in.options;
  (void)o;
  int entry = 0;
#define FULCRUM_DIVERGENCE(name, ...) \
  if (entry++ == in.entry) return f(centred_of(__VA_ARGS__));
#include "engine/divergence/generators/divergences.def"
#undef FULCRUM_DIVERGENCE
  return cudaErrorInvalidValue;
}

// p f(u) and p u f'(u) of a token for log-ratios within kNear.
template <class G>
struct NearTerms {
  G g;

  __device__ __forceinline__ float value(float log_p, float l) const { return expf(log_p) * g.value(l); }
  __device__ __forceinline__ float slope(float log_p, float l) const { return expf(log_p) * g.gradient(l); }
};

// The same for every log-ratio, infinities included: pi f'(inf) where p is 0. The two KL divergences are
// written in pi and p themselves, as p f(u) is an infinity times nearly nothing where u overflows and they
// are not infinite; for the others with a finite f'(inf), u f'(inf) is f(u) long before.
template <class G>
struct FarTerms {
  G g;
  double slope_at_infinity;

  static constexpr bool kForwardKl = std::is_same_v<G, generators::CentredForwardKl>;
  static constexpr bool kReverseKl = std::is_same_v<G, generators::CentredReverseKl>;

  __device__ double value(double log_pi, double log_p) const {
    const double pi = exp(log_pi), p = exp(log_p), l = log_pi - log_p;
    if (kForwardKl && l > 1) return p == 0 ? pi : pi - p - p * l;
    if (kReverseKl && l > 1) return pi == 0 ? p : pi * l - pi + p;
    return at_infinity(p, l) ? from_infinity(pi) : p * g.value(l);
  }
  __device__ double slope(double log_pi, double log_p) const {
    const double pi = exp(log_pi), p = exp(log_p), l = log_pi - log_p;
    if (kForwardKl) return pi - p;
    if (kReverseKl) return pi == 0 ? 0 : pi * l;
    return at_infinity(p, l) ? from_infinity(pi) : p * g.gradient(l);
  }

 private:
  __device__ bool at_infinity(double p, double l) const {
    constexpr double kBeforeOverflow = 700;
    return p == 0 || (l > kBeforeOverflow && slope_at_infinity < INFINITY);
  }
  __device__ double from_infinity(double pi) const { return pi == 0 ? 0 : pi * slope_at_infinity; }
};

}  // namespace fulcrum::kernels::cuda
