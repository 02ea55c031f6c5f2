// chi-PO's mixture of chi-squared and reverse KL: f'(u) = u - 1 + log u, f(u) = (u - 1)^2/2 + u log u - u + 1
// (Huang et al., "Correcting the mythos of KL-regularization", arXiv 2407.13399; the link log u + u up to a
// constant).
#pragma once

#include "engine/divergence/generators/chi_squared.h"
#include "engine/divergence/generators/reverse_kl.h"

namespace fulcrum::generators {

struct ChiPoAdjoint;

struct ChiPo {
  GeneratorFacts facts() const { return {1.5, -kInfinity, 0, kInfinity, 2, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::expm1;
    const T e = expm1(l);
    return T(0.5) * e * e + CentredReverseKl{}.value(l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    using std::expm1;
    return expm1(l) + l;
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return exp(l) + T(1);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    return exp(l) * slope(finite(l));
  }
  double slope_difference(double l, double m) const { return l - m + power_difference(1.0, l, m); }
  template <class T>
  T inverse_slope(T y) const {
    return T(solve_increasing([this](double l) { return slope(l); }, double(y)));
  }
  inline ChiPoAdjoint adjoint() const;
};

// f(u) = (u - 1)^2/(2u) + u - 1 - log u: half the reverse chi-squared and the forward KL.
struct ChiPoAdjoint {
  GeneratorFacts facts() const { return {kInfinity, -kInfinity, 0, 1.5, 2, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    return T(0.5) * ReverseChiSquared{}.value(l) + CentredForwardKl{}.value(l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return T(0.5) * ReverseChiSquared{}.slope(l) + CentredForwardKl{}.slope(l);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    return T(0.5) * ReverseChiSquared{}.curvature(l) + CentredForwardKl{}.curvature(l);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    return T(0.5) * ReverseChiSquared{}.gradient(l) + CentredForwardKl{}.gradient(l);
  }
  // With w = 1/u: y = 3/2 - w - w^2/2, so w - 1 = sqrt(4 - 2y) - 2.
  template <class T>
  T inverse_slope(T y) const {
    return -std::log1p(T(-2) * y / (std::sqrt(T(4) - T(2) * y) + T(2)));
  }
  ChiPo adjoint() const { return {}; }
};

inline ChiPoAdjoint ChiPo::adjoint() const { return {}; }

}  // namespace fulcrum::generators
