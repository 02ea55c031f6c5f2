// Exact algebra on sums of products: what two answers are brought to before they are compared. Called by the
// LaTeX parser and the comparison of answers. One judgement, one thread.
//
// Normal form: a polynomial is a sum of rational coefficients times monomials; a monomial is a product of
// atoms with rational exponents. Atoms are strings, and equal strings are equal atoms:
//   7          a prime (or an unfactored integer) under a root; its exponent lies in [0, 1)
//   x, \alpha  a symbol;   i with i^2 = -1, e and pi positive
//   (x+1)      a sum that is raised to a negative or broken exponent (exponents >= 1 are multiplied out)
//   sin(x)     a function of a polynomial;  pow(2|x) a base raised to a monomial
// Equality is decided by `is_zero` of a difference: denominators are multiplied out and sin^2 becomes 1 -
// cos^2, so it is complete for rational functions and roots of integers, and honest (it may miss an identity,
// never invent one).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "reward/math/budget.h"
#include "reward/math/number.h"

namespace fulcrum {

using Monomial = std::map<std::string, Rational>;
using Polynomial = std::map<Monomial, Rational>;

class Algebra {
 public:
  explicit Algebra(Budget& budget) : budget_(budget) {}

  Budget& budget() { return budget_; }
  // Something had no value (a division by zero, an even root of a negative number) or was too large to
  // compute. What is returned after that means nothing; `forget` clears it for the next expression.
  bool undefined() const { return undefined_; }
  void forget() { undefined_ = no_value_ = false; }
  // It was undefined because there is no such number, as 1/0; not because it is too large or complex.
  bool no_value() const { return no_value_; }
  Polynomial make_undefined() {
    undefined_ = true;
    return {};
  }
  Polynomial make_no_value() {
    no_value_ = true;
    return make_undefined();
  }

  static Polynomial constant(const Rational& value);
  static Polynomial symbol(std::string_view name);
  static std::optional<Rational> as_rational(const Polynomial& p);

  Polynomial add(Polynomial a, const Polynomial& b, const Rational& factor = 1);  // a + factor b
  Polynomial subtract(Polynomial a, const Polynomial& b) { return add(std::move(a), b, -1); }
  Polynomial scale(Polynomial a, const Rational& factor);
  Polynomial multiply(const Polynomial& a, const Polynomial& b);
  Polynomial divide(const Polynomial& a, const Polynomial& b);
  Polynomial power(const Polynomial& base, const Polynomial& exponent);
  Polynomial root(const Polynomial& base, const Polynomial& degree);
  Polynomial factorial(const Polynomial& n);
  // sin, cos, ..., ln, abs; any other name is an unknown function.
  Polynomial apply(std::string_view function, const Polynomial& argument);

  bool is_zero(const Polynomial& p);
  // p with its denominators multiplied out: zero exactly where p is, up to a factor.
  Polynomial numerator(Polynomial p);
  // The value as a double where p is a real constant.
  std::optional<double> approximate(const Polynomial& p) const;
  // p as one function of an argument, where it is nothing else: f(x), \sin(2x), |x|; else no value.
  struct Application {
    std::string function;
    Polynomial argument;
  };
  std::optional<Application> as_application(const Polynomial& p) const;
  // A text that equal normal forms share.
  std::string key(const Polynomial& p);

 private:
  struct Meaning {         // what a composed atom stands for
    std::string function;  // "" for a sum, "pow" for argument ^ exponent
    Polynomial argument;
    Polynomial exponent;
  };

  Polynomial normalise(Monomial m, Rational coefficient);
  Polynomial sum_atom(const Polynomial& base, const Rational& exponent);
  Polynomial power(const Polynomial& base, const Rational& exponent);
  Polynomial whole_power(const Polynomial& base, int64_t exponent);
  Polynomial monomial_power(const Monomial& m, const Rational& coefficient, const Rational& exponent);
  Polynomial number_power(const Rational& base, const Rational& exponent);
  Polynomial symbolic_power(const Polynomial& base, const Polynomial& exponent);
  Polynomial logarithm(const Polynomial& argument);
  Polynomial function_atom(std::string_view function, const Polynomial& argument);
  Polynomial without_sine_squares(const Polynomial& p);
  std::map<mpz_class, int64_t> factors(mpz_class n);
  bool fits(const Rational& value);

  Budget& budget_;
  bool undefined_ = false;
  bool no_value_ = false;
  std::map<std::string, Meaning, std::less<>> meanings_;
};

}  // namespace fulcrum
