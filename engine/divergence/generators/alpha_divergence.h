// The alpha family in TRL's and f-DPG's convention: f'(u) = (u^(alpha-1) - 1)/(alpha - 1), any real alpha
// (f-DPG, arXiv 2302.08215, table 1; Amari). 0 is the centred forward KL, 1/2 four times the squared
// Hellinger distance, 1 the centred reverse KL. The f-DPO and DPH-RL papers write 1 - alpha.
#pragma once

#include "engine/divergence/generators/reverse_kl.h"

namespace fulcrum::generators {

struct AlphaDivergence {
  double alpha = 0.5;

  GeneratorFacts facts() const {
    const double b = alpha - 1;
    return {.value_at_zero = alpha > 0 ? 1 / alpha : kInfinity,
            .slope_at_zero = b > 0 ? -1 / b : -kInfinity,
            .slope_at_one = 0,
            .slope_at_infinity = b < 0 ? -1 / b : kInfinity,
            .curvature_at_one = 1,
            .adjoint_slope_at_zero = alpha < 0 ? 1 / alpha : -kInfinity};
  }

  // f = (u^a - 1 - a (u - 1)) / (a b), b = a - 1. Both zeros of a b are removable and are removed: for a near
  // 1
  //   a f = u (e^(b l) - 1 - b l)/b + (u l - u + 1) = u f' - (u - 1),
  // else b f = (e^(a l) - 1 - a l)/a - (e^l - 1 - l) = (e^(a l) - 1)/a - (u - 1), each in the form that does
  // not cancel: the one with the linear parts taken out inside |l| < 1, the other outside.
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::abs, std::exp, std::expm1;
    const T a = T(alpha), b = T(alpha - 1), u = exp(l);
    T near, far;
    if (abs(b) < T(0.5)) {
      near = (u * scaled_expm1_minus(b, l) + CentredReverseKl{}.value(l)) / a;
      far = select(l > T(0), u * (scaled_expm1(b, l) - T(1)) + T(1), gradient(l) - u + T(1)) / a;
    } else {
      near = (scaled_expm1_minus(a, l) - expm1_minus_x(l)) / b;
      far = (scaled_expm1(a, l) - expm1(l)) / b;
    }
    return select(overflowed(u), u, select(abs(l) < T(1), near, far));
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return scaled_expm1(T(alpha - 1), l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return exp(T(alpha - 1) * finite(l));
  }
  // u f' = (u^a - u)/b. Where e^(b l) would overflow against u -> 0 the larger power is taken out instead.
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    const T b = T(alpha - 1), bounded = finite(l);
    return select((b < T(0)) && (l < T(0)), exp(T(alpha) * bounded) * scaled_expm1(-b, bounded),
                  exp(l) * scaled_expm1(b, bounded));
  }
  double slope_difference(double l, double m) const { return power_difference(alpha - 1, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    const T b = T(alpha - 1);
    return b == T(0) ? y : std::log1p(b * y) / b;
  }
  AlphaDivergence adjoint() const { return {1 - alpha}; }
};

}  // namespace fulcrum::generators
