// Reverse KL: D_f(pi || p) = KL(pi || p), mode-seeking. f(u) = u log u, f'(u) = log u + 1 (f-DPO, arXiv
// 2309.16240, table 1). As f-DPO's link it is DPO. The centred form is u log u - u + 1, the importance form
// of DPH-RL's baseline.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

struct ForwardKl;
struct CentredForwardKl;

struct CentredReverseKl {
  GeneratorFacts facts() const { return {1, -kInfinity, 0, kInfinity, 1, -kInfinity, true, true}; }
  // Near 0 as e^l (e^-l - 1 + l), whose terms do not cancel.
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::abs, std::exp;
    const T u = exp(l);
    return select(abs(l) < T(0.5), u * expm1_minus_x(-l), (finite(l) - T(1)) * u + T(1));
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return l;
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T) const {
    return T(1);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    return exp(l) * finite(l);
  }
  template <class T>
  T inverse_slope(T y) const {
    return y;
  }
  inline CentredForwardKl adjoint() const;
};

struct ReverseKl {
  GeneratorFacts facts() const { return {0, -kInfinity, 1, kInfinity, 1, -kInfinity, true, true}; }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::exp;
    return exp(l) * finite(l);
  }
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return l + T(1);
  }
  template <class T>
  FULCRUM_GENERATOR T curvature(T) const {
    return T(1);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    return exp(l) * (finite(l) + T(1));
  }
  template <class T>
  T inverse_slope(T y) const {
    return y - T(1);
  }
  CentredReverseKl centred() const { return {}; }
  inline ForwardKl adjoint() const;
};

}  // namespace fulcrum::generators

#include "engine/divergence/generators/forward_kl.h"

namespace fulcrum::generators {
inline CentredForwardKl CentredReverseKl::adjoint() const { return {}; }
inline ForwardKl ReverseKl::adjoint() const { return {}; }
}  // namespace fulcrum::generators
