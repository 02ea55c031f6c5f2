// Squared Hellinger distance: f(u) = (sqrt u - 1)^2, f'(u) = 1 - u^(-1/2); half of alpha_divergence at alpha
// 1/2.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct Hellinger {
  GeneratorFacts facts() const { return {1, -kInfinity, 0, 1, 0.5, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::expm1;
    const T e = expm1(T(0.5) * l);
    return e * e;
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return -expm1(T(-0.5) * l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return T(0.5) * exp(T(-0.5) * l);
  }
  // u - sqrt u.
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp, std::expm1;
    return exp(T(0.5) * l) * expm1(T(0.5) * l);
  }
  double slope_difference(double l, double m) const { return 0.5 * power_difference(-0.5, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return T(-2) * std::log1p(-y);
  }
  Hellinger adjoint() const { return {}; }
};

}  // namespace fulcrum::generators
