// Total variation: f(u) = |u - 1|/2, f'(u) = sign(u - 1)/2, 0 at u = 1 (f-DPG, arXiv 2302.08215, table 1).
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct TotalVariation {
  GeneratorFacts facts() const { return {0.5, -0.5, 0, 0.5, 0, -0.5, false, false}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::abs, std::expm1;
    return T(0.5) * abs(expm1(l));
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return select(l > T(0), T(0.5), select(l < T(0), T(-0.5), T(0) * l));
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T) const {
    return T(0);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    return exp(l) * slope(l);
  }
  template <class T>
  T inverse_slope(T) const {
    return std::numeric_limits<T>::quiet_NaN();
  }
  TotalVariation adjoint() const { return {}; }
};

}  // namespace fulcrum::generators
