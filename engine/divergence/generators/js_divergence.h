// Jensen-Shannon, times 2 * scale: f(u) = scale (u log u - (u + 1) log((u + 1)/2)), f'(u) = scale log(2u/(1 +
// u)) (f-DPO, arXiv 2309.16240, table 1). scale 1 gives 2 JSD, as TRL, disco and DPH-RL's code have it; 1/2
// the DPH paper's.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct JsDivergence {
  double scale = 1;

  GeneratorFacts facts() const {
    return {scale * kLog2, -kInfinity, 0, scale * kLog2, scale / 2, -kInfinity, true, true};
  }
  // With t = tanh(l/2): log(2u/(1+u)) = log(1 + t) and log(2/(1+u)) = log(1 - t), exact near u = 1.
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::abs, std::exp, std::expm1, std::log1p, std::tanh;
    const T t = tanh(T(0.5) * l), u = exp(l), bounded = finite(l);
    const T near = expm1(l) * log1p(t) + log1p(-t * t);
    const T far = u * (T(kLog2) - softplus(-bounded)) + T(kLog2) - softplus(bounded);
    return T(scale) * select(overflowed(u), u, select(abs(l) < T(0.5), near, far));
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::abs, std::log1p, std::tanh;
    return T(scale) * select(abs(l) < T(0.5), log1p(tanh(T(0.5) * l)), T(kLog2) - softplus(-l));
  }
  // u f''(u) = 1/(1 + u), written so that e^l cannot overflow.
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::abs, std::exp;
    const T e = exp(-abs(l));
    return T(scale) * select(l > T(0), e, T(1)) / (T(1) + e);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    // The scale last: it would carry the slope at -infinity out of range, and 0 times that is no number.
    return T(scale) * (exp(l) * JsDivergence{}.slope(finite(l)));
  }
  // log((1 + e^-m)/(1 + e^-l)); near each other by the ratio less 1.
  double slope_difference(double l, double m) const {
    if (std::abs(l - m) > 1) return scale * (softplus(-m) - softplus(-l));
    return scale * std::log1p(std::expm1(l - m) * std::exp(-softplus(l)));
  }
  template <class T>
  T inverse_slope(T y) const {
    const T z = y / T(scale);
    return select(z < T(-1), z - T(kLog2) - std::log1p(T(-0.5) * std::exp(z)),
                  -std::log1p(T(2) * std::expm1(-z)));
  }
  JsDivergence adjoint() const { return *this; }
};

}  // namespace fulcrum::generators
