// What can be made from any generator: its centred form, its adjoint, a difference of slopes, and a linear
// continuation for losses. A generator that knows a better form of the first three has a member of that name.
#pragma once

#include "engine/divergence/generators/math.h"

namespace fulcrum::generators {

// f - f'(1)(u - 1): the same divergence, never negative, slope 0 at u = 1. Generators without the member are
// centred as they stand (the laws check that their slope at one is 0).
template <class G>
auto centred_of(const G& g) {
  if constexpr (requires { g.centred(); }) {
    return g.centred();
  } else {
    return g;
  }
}

// f'(e^l) - f'(e^m), for links whose two slopes may be large or small numbers close to each other. A
// generator whose slopes' difference cancels has a member slope_difference().
template <class G>
double slope_difference_of(const G& g, double l, double m) {
  if constexpr (requires { g.slope_difference(l, m); }) {
    return g.slope_difference(l, m);
  } else {
    return g.slope(l) - g.slope(m);
  }
}

// f*(u) = u f(1/u), which swaps the arguments: D_f*(pi || p) = D_f(p || pi). Computed in double, since the
// two exponentials it multiplies leave float's range long before their product does.
template <class G>
struct Adjoint {
  G g;

  GeneratorFacts facts() const {
    const GeneratorFacts f = g.facts();
    return {f.slope_at_infinity, f.adjoint_slope_at_zero, -f.slope_at_one, f.value_at_zero,
            f.curvature_at_one,  f.slope_at_zero,         f.smooth,        f.invertible};
  }
  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    using std::exp;
    const double u = exp(double(l)), mirrored = g.value(-double(l));
    return T(u > 0 ? u * mirrored : facts().value_at_zero);
  }
  // f*'(u) = f(1/u) - f'(1/u)/u.
  template <class T>
  FULCRUM_GENERATOR T slope(T l) const {
    return T(g.value(-double(l)) - g.gradient(-double(l)));
  }
  // u f*''(u) = f''(1/u)/u^2.
  template <class T>
  FULCRUM_GENERATOR T curvature(T l) const {
    using std::exp;
    return T(exp(-double(l)) * g.curvature(-double(l)));
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    using std::exp;
    const double u = exp(double(l));
    return T(u > 0 ? u * slope(double(l)) : 0);
  }
  template <class T>
  T inverse_slope(T y) const {
    return T(solve_increasing([this](double l) { return slope(l); }, double(y), 300));
  }
  auto centred() const { return Adjoint<decltype(centred_of(g))>{centred_of(g)}; }
  G adjoint() const { return g; }
};

template <class G>
auto adjoint_of(const G& g) {
  if constexpr (requires { g.adjoint(); }) {
    return g.adjoint();
  } else {
    return Adjoint<G>{g};
  }
}

// As a loss in l: f below delta_max, its tangent in l above, so that boosted tokens keep a bounded pull back
// and nothing overflows (DPH-RL; the low side needs nothing). Not a generator: it is not convex in u.
template <class G>
struct LinearTail {
  G g;
  double delta_max = kInfinity;

  template <class T>
  FULCRUM_GENERATOR T value(T l) const {
    const T edge = T(delta_max);
    return l > edge ? g.value(edge) + g.gradient(edge) * (l - edge) : g.value(l);
  }
  template <class T>
  FULCRUM_GENERATOR T gradient(T l) const {
    return g.gradient(l > T(delta_max) ? T(delta_max) : l);
  }
};

}  // namespace fulcrum::generators
