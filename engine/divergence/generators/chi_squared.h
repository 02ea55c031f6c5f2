// Pearson's chi-squared and its mirror image (f-DPG, arXiv 2302.08215, table 1: chi2_pi_p and chi2_p_pi):
//   chi_squared          f(u) = (u - 1)^2      D = sum (pi - p)^2 / p
//   reverse_chi_squared  f(u) = (u - 1)^2 / u  D = sum (p - pi)^2 / pi
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct ReverseChiSquared;

struct ChiSquared {
  GeneratorFacts facts() const { return {1, -2, 0, kInfinity, 2, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::expm1;
    const T e = expm1(l);
    return e * e;
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return T(2) * expm1(l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return T(2) * exp(l);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    return exp(l) * slope(l);
  }
  double slope_difference(double l, double m) const { return 2 * power_difference(1.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return std::log1p(T(0.5) * y);
  }
  inline ReverseChiSquared adjoint() const;
};

struct ReverseChiSquared {
  GeneratorFacts facts() const { return {kInfinity, -kInfinity, 0, 1, 2, -2, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::expm1;
    return -expm1(l) * expm1(-l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return -expm1(T(-2) * l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return T(2) * exp(T(-2) * l);
  }
  // u - 1/u.
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::expm1;
    return expm1(l) - expm1(-l);
  }
  double slope_difference(double l, double m) const { return 2 * power_difference(-2.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return T(-0.5) * std::log1p(-y);
  }
  ChiSquared adjoint() const { return {}; }
};

inline ReverseChiSquared ChiSquared::adjoint() const { return {}; }

}  // namespace fulcrum::generators
