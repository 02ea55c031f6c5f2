// The few functions generators are written in, chosen so that one text serves float, double and, by
// overloading these names, a SIMD vector or a CUDA thread: no branch on a value, only select(). Pure,
// thread-safe.
//
// Everything is a function of the log-ratio l = log u. "Stable" below means: a relative error of a few units
// in the last place for every finite l, and the right limit at +-inf.
#pragma once

#include <cmath>
#include <limits>

#if defined(__CUDACC__)
#define FULCRUM_GENERATOR __host__ __device__
#else
#define FULCRUM_GENERATOR
#endif

namespace fulcrum::generators {

// What is known of a generator without evaluating it; infinities are IEEE's. The laws hold every entry to its
// facts.
struct GeneratorFacts {
  double value_at_zero = 0;          // f(0+)
  double slope_at_zero = 0;          // f'(0+); f-DPO needs -inf
  double slope_at_one = 0;           // f'(1): what the centred form subtracts
  double slope_at_infinity = 0;      // f'(inf) = lim f(u)/u
  double curvature_at_one = 0;       // f''(1): the local stiffness by which coefficients compare
  double adjoint_slope_at_zero = 0;  // lim f(u) - u f'(u) for u -> inf
  bool smooth = true;                // f' is continuous
  bool invertible = true;            // f' is strictly increasing
};

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kLog2 = 0.693147180559945309417232121458;

template <class T>
FULCRUM_GENERATOR inline T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}

// l with the infinities replaced by the largest finite numbers, so that 0 * l is 0; NaN stays NaN.
template <class T>
FULCRUM_GENERATOR inline T finite(T l) {
  const T largest = T(std::numeric_limits<T>::max());
  return select(l > largest, largest, select(l < -largest, -largest, l));
}

template <class T>
FULCRUM_GENERATOR inline bool overflowed(T u) {
  return u > T(std::numeric_limits<T>::max());
}

// e^x - 1 - x, stable (Taylor's series inside |x| < 1/2, where the terms would cancel).
template <class T>
FULCRUM_GENERATOR inline T expm1_minus_x(T x) {
  using std::abs, std::expm1;
  T series = T(1);
  for (int n = 15; n >= 3; --n) series = T(1) + x * series * T(1.0 / n);
  const T e = expm1(x);
  return select(abs(x) < T(0.5), T(0.5) * x * x * series, select(overflowed(e), e, e - x));
}

// (e^(k l) - 1) / k, which is l for k = 0.
template <class T>
FULCRUM_GENERATOR inline T scaled_expm1(T k, T l) {
  using std::expm1;
  return k == T(0) ? l : expm1(k * l) / k;
}

// (e^(k l) - 1 - k l) / k, which is 0 for k = 0.
template <class T>
FULCRUM_GENERATOR inline T scaled_expm1_minus(T k, T l) {
  return k == T(0) ? T(0) : expm1_minus_x(k * l) / k;
}

// log(1 + e^x), stable.
template <class T>
FULCRUM_GENERATOR inline T softplus(T x) {
  using std::abs, std::exp, std::log1p;
  return select(x > T(0), x, T(0)) + log1p(exp(-abs(x)));
}

// (e^(k l) - e^(k m)) / k without cancellation: the larger power is taken out. l - m for k = 0.
template <class T>
FULCRUM_GENERATOR inline T power_difference(T k, T l, T m) {
  using std::exp;
  return select(k * (l - m) > T(0), exp(k * l) * scaled_expm1(-k, l - m),
                exp(k * m) * scaled_expm1(k, l - m));
}

// The l at which an increasing function reaches y, by bisection in double: inverses without a closed form.
// Not for hot loops. Outside the function's range: the infinity on that side.
template <class Function>
double solve_increasing(const Function& function, double y, double range = 700) {
  if (std::isnan(y)) return y;
  double low = -range, high = range;
  if (function(high) < y) return kInfinity;
  if (function(low) > y) return -kInfinity;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (function(middle) < y ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace fulcrum::generators
