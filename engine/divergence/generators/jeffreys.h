// Jeffreys: both KLs added. f(u) = (u - 1) log u, f'(u) = log u + 1 - 1/u.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct Jeffreys {
  GeneratorFacts facts() const { return {kInfinity, -kInfinity, 0, kInfinity, 2, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::expm1;
    return l * expm1(l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return l - expm1(-l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return T(1) + exp(-l);
  }
  // u log u + u - 1.
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp, std::expm1;
    return exp(l) * finite(l) + expm1(l);
  }
  double slope_difference(double l, double m) const { return l - m + power_difference(-1.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return T(solve_increasing([this](double l) { return slope(l); }, double(y)));
  }
  Jeffreys adjoint() const { return {}; }
};

}  // namespace fulcrum::generators
