// Forward KL: D_f(pi || p) = KL(p || pi), mass-covering. f(u) = -log u, f'(u) = -1/u (f-DPO, arXiv
// 2309.16240, table 1). Its centred form u - 1 - log u is the k3 estimator, and DPH-RL's forward divergence.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct ReverseKl;
struct CentredReverseKl;

struct CentredForwardKl {
  GeneratorFacts facts() const { return {kInfinity, -kInfinity, 0, 1, 1, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    return expm1_minus_x(l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return -expm1(-l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return exp(-l);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::expm1;
    return expm1(l);
  }
  double slope_difference(double l, double m) const { return power_difference(-1.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return -std::log1p(-y);
  }
  inline CentredReverseKl adjoint() const;
};

struct ForwardKl {
  GeneratorFacts facts() const { return {kInfinity, -kInfinity, -1, 0, 1, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    return -l;
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::exp;
    return -exp(-l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return exp(-l);
  }
  // -1; a NaN stays one.
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    return T(0) * finite(l) - T(1);
  }
  double slope_difference(double l, double m) const { return power_difference(-1.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return -std::log(-y);
  }
  CentredForwardKl centred() const { return {}; }
  inline ReverseKl adjoint() const;
};

}  // namespace fulcrum::generators

#include "engine/divergence/generators/reverse_kl.h"

namespace fulcrum::generators {
inline CentredReverseKl CentredForwardKl::adjoint() const { return {}; }
inline ReverseKl ForwardKl::adjoint() const { return {}; }
}  // namespace fulcrum::generators
