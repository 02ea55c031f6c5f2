#include "reward/math/algebra.h"

#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace fulcrum {
namespace {

constexpr size_t kMaxKey = 1 << 16;  // bytes; nested sums repeat inside their keys

bool is_prime_atom(const std::string& atom) { return atom[0] >= '0' && atom[0] <= '9'; }
bool is_sum_atom(const std::string& atom) { return atom[0] == '('; }

Rational floor_of(const Rational& r) {
  mpz_class q;
  mpz_fdiv_q(q.get_mpz_t(), r.get_num_mpz_t(), r.get_den_mpz_t());
  return q;
}

}  // namespace

bool Algebra::fits(const Rational& value) {
  const size_t bits = bit_size(value);
  budget_.spend(1 + static_cast<int64_t>(bits / 256));
  if (bits > kMaxBits) undefined_ = true;
  return !undefined_;
}

Polynomial Algebra::constant(const Rational& value) {
  if (value == 0) return {};
  return {{Monomial{}, value}};
}

Polynomial Algebra::symbol(std::string_view name) { return {{Monomial{{std::string(name), 1}}, 1}}; }

std::optional<Rational> Algebra::as_rational(const Polynomial& p) {
  if (p.empty()) return Rational(0);
  if (p.size() == 1 && p.begin()->first.empty()) return p.begin()->second;
  return std::nullopt;
}

Polynomial Algebra::add(Polynomial a, const Polynomial& b, const Rational& factor) {
  for (const auto& [m, c] : b) {
    if (!budget_.spend()) break;
    Rational& sum = a[m];
    sum += c * factor;
    if (!fits(sum)) return {};
    if (sum == 0) a.erase(m);
  }
  return a;
}

Polynomial Algebra::scale(Polynomial a, const Rational& factor) {
  if (factor == 0) return {};
  for (auto& [m, c] : a) {
    c *= factor;
    if (!fits(c) || budget_.exhausted()) return {};
  }
  return a;
}

Polynomial Algebra::multiply(const Polynomial& a, const Polynomial& b) {
  Polynomial product;
  for (const auto& [ma, ca] : a) {
    for (const auto& [mb, cb] : b) {
      if (!budget_.spend(static_cast<int64_t>(1 + ma.size() + mb.size())) || undefined_) return {};
      Monomial m = ma;
      for (const auto& [atom, exponent] : mb) m[atom] += exponent;
      product = add(std::move(product), normalise(std::move(m), ca * cb));
    }
  }
  return product;
}

// Brings one product to normal form: whole powers of primes join the coefficient, powers of i are reduced,
// whole powers of sums are multiplied out.
Polynomial Algebra::normalise(Monomial m, Rational coefficient) {
  std::vector<std::pair<std::string, int64_t>> to_expand;
  for (auto it = m.begin(); it != m.end();) {
    auto& [atom, exponent] = *it;
    const Rational whole = floor_of(exponent);
    if (!fits(coefficient) || !fits(exponent)) return {};
    if (is_prime_atom(atom) && whole != 0) {
      const Polynomial factor = number_power(Rational(atom), whole);
      if (undefined_ || factor.empty()) return {};
      coefficient *= factor.begin()->second;
      exponent -= whole;
    } else if (atom == "i" && exponent == whole && (whole < 0 || whole > 1)) {
      const unsigned long turn = mpz_fdiv_ui(whole.get_num_mpz_t(), 4);
      if (turn >= 2) coefficient = -coefficient;
      exponent = turn % 2;
    } else if (is_sum_atom(atom) && whole >= 1) {
      if (whole > 64) return make_undefined();
      to_expand.emplace_back(atom, whole.get_num().get_si());
      exponent -= whole;
    }
    it = exponent == 0 ? m.erase(it) : std::next(it);
  }
  Polynomial result{{std::move(m), coefficient}};
  for (const auto& [atom, exponent] : to_expand) {
    result = multiply(result, whole_power(meanings_.find(atom)->second.argument, exponent));
  }
  return result;
}

Polynomial Algebra::divide(const Polynomial& a, const Polynomial& b) {
  if (a.empty() && !b.empty()) return {};
  return multiply(a, power(b, Rational(-1)));
}

std::string Algebra::key(const Polynomial& p) {
  std::string text;
  for (const auto& [m, c] : p) {
    if (!text.empty()) text += '+';
    text += c.get_str();
    for (const auto& [atom, exponent] : m) {
      text += '*';
      text += atom;
      if (exponent != 1) text += '^' + exponent.get_str();
      if (text.size() > kMaxKey || !budget_.spend(1 + static_cast<int64_t>(atom.size() / 64))) {
        undefined_ = true;
        return {};
      }
    }
  }
  return text;
}

// sin^2 = 1 - cos^2 in every monomial, so that one polynomial has one form.
Polynomial Algebra::without_sine_squares(const Polynomial& p) {
  Polynomial result;
  for (const auto& [m, c] : p) {
    Monomial rest = m;
    Polynomial factor = constant(1);
    for (const auto& [atom, exponent] : m) {
      if (!atom.starts_with("sin(") || exponent < 2 || exponent > 64) continue;
      const int64_t pairs = floor_of(exponent / 2).get_num().get_si();
      rest[atom] -= 2 * pairs;
      const Polynomial cosine = function_atom("cos", meanings_.find(atom)->second.argument);
      const Polynomial square = subtract(constant(1), multiply(cosine, cosine));
      factor = multiply(factor, whole_power(square, pairs));
    }
    result = add(std::move(result), multiply(normalise(std::move(rest), c), factor));
    if (budget_.exhausted() || undefined_) return {};
  }
  return result;
}

Polynomial Algebra::numerator(Polynomial p) {
  for (int round = 0; round < 32 && !budget_.exhausted() && !undefined_; ++round) {
    Monomial lowest;  // of sums and functions: symbols may have negative exponents in the normal form
    for (const auto& [m, c] : p) {
      for (const auto& [atom, exponent] : m) {
        if (exponent < 0 && meanings_.contains(atom)) {
          Rational& low = lowest[atom];
          if (exponent < low) low = exponent;
        }
      }
    }
    if (lowest.empty()) break;
    for (auto& [atom, exponent] : lowest) exponent = -floor_of(exponent);
    Polynomial cleared;
    for (const auto& [m, c] : p) {
      Monomial raised = m;
      for (const auto& [atom, exponent] : lowest) raised[atom] += exponent;
      cleared = add(std::move(cleared), normalise(std::move(raised), c));
    }
    p = std::move(cleared);
  }
  return without_sine_squares(p);
}

bool Algebra::is_zero(const Polynomial& p) {
  if (p.empty()) return true;
  const Polynomial n = numerator(p);
  return n.empty() && !budget_.exhausted() && !undefined_;
}

std::optional<Algebra::Application> Algebra::as_application(const Polynomial& p) const {
  if (p.size() != 1 || p.begin()->second != 1 || p.begin()->first.size() != 1) return std::nullopt;
  const auto& [atom, exponent] = *p.begin()->first.begin();
  const auto found = meanings_.find(atom);
  if (exponent != 1 || found == meanings_.end()) return std::nullopt;
  const Meaning& meaning = found->second;
  if (meaning.function.empty() || meaning.function == "pow") return std::nullopt;
  return Application{meaning.function, meaning.argument};
}

std::optional<double> Algebra::approximate(const Polynomial& p) const {
  double sum = 0;
  for (const auto& [m, c] : p) {
    double product = c.get_d();
    for (const auto& [atom, exponent] : m) {
      std::optional<double> base;
      if (is_prime_atom(atom)) base = mpz_class(atom).get_d();
      if (atom == "pi") base = std::numbers::pi;
      if (atom == "e") base = std::numbers::e;
      if (const auto it = meanings_.find(atom); it != meanings_.end()) {
        const Meaning& meaning = it->second;
        base = approximate(meaning.argument);
        if (!base) return std::nullopt;
        struct Function {
          std::string_view name;
          double (*value)(double);
        };
        static constexpr std::array<Function, 8> kFunctions{{{"sin", std::sin},
                                                             {"cos", std::cos},
                                                             {"arcsin", std::asin},
                                                             {"arccos", std::acos},
                                                             {"arctan", std::atan},
                                                             {"ln", std::log},
                                                             {"log", std::log10},
                                                             {"abs", std::fabs}}};
        bool known = meaning.function.empty();
        for (const Function& f : kFunctions) {
          if (meaning.function == f.name) known = true, base = f.value(*base);
        }
        if (meaning.function == "pow") {
          const std::optional<double> up = approximate(meaning.exponent);
          if (!up) return std::nullopt;
          known = true, base = std::pow(*base, *up);
        }
        if (!known) return std::nullopt;
      }
      if (!base) return std::nullopt;
      product *= std::pow(*base, exponent.get_d());
    }
    sum += product;
  }
  return std::isfinite(sum) ? std::optional(sum) : std::nullopt;
}

}  // namespace fulcrum
