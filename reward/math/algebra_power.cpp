// Powers, roots and functions of the exact algebra.
#include "reward/math/algebra.h"

namespace fulcrum {
namespace {

constexpr int64_t kMaxExpansion = 64;           // largest whole power of a sum that is multiplied out
constexpr unsigned long kTrialLimit = 1 << 14;  // divisors tried when an integer is factored

bool is_whole(const Rational& r) { return r.get_den() == 1; }
bool is_positive_atom(const std::string& atom) {
  return (atom[0] >= '0' && atom[0] <= '9') || atom == "pi" || atom == "e";
}

}  // namespace

// Trial division; what is left of a large integer stays whole (then equal roots are still equal atoms).
std::map<mpz_class, int64_t> Algebra::factors(mpz_class n) {
  std::map<mpz_class, int64_t> found;
  for (unsigned long d = 2; n > 1; d += d == 2 ? 1 : 2) {
    if (mpz_class(d) * d > n || d > kTrialLimit) {
      ++found[n];
      break;
    }
    if (d % 64 < 2 && !budget_.spend()) break;
    while (mpz_divisible_ui_p(n.get_mpz_t(), d) != 0) {
      n /= d;
      ++found[mpz_class(d)];
      if (!budget_.spend()) return found;
    }
  }
  return found;
}

Polynomial Algebra::number_power(const Rational& base, const Rational& exponent) {
  if (base == 0) return exponent > 0 ? Polynomial{} : make_no_value();
  if (base == 1) return constant(1);
  if (is_whole(exponent)) {
    const mpz_class size = abs(exponent.get_num()) * static_cast<unsigned long>(bit_size(base));
    if (size > static_cast<unsigned long>(kMaxBits))
      return base == -1 ? constant(mpz_even_p(exponent.get_num_mpz_t()) ? 1 : -1) : make_undefined();
    const unsigned long n = mpz_class(abs(exponent.get_num())).get_ui();
    Rational value;
    mpz_pow_ui(value.get_num_mpz_t(), base.get_num_mpz_t(), n);
    mpz_pow_ui(value.get_den_mpz_t(), base.get_den_mpz_t(), n);
    if (exponent < 0) value = 1 / value;
    return fits(value) ? constant(value) : Polynomial{};
  }
  if (base < 0) {
    // The square root is i times a positive root; odd roots are real.
    const Polynomial size = number_power(-base, exponent);
    if (exponent.get_den() == 2) return multiply(size, power(symbol("i"), Rational(exponent.get_num())));
    if (mpz_even_p(exponent.get_den_mpz_t())) return make_undefined();
    return mpz_even_p(exponent.get_num_mpz_t()) ? size : scale(size, -1);
  }
  Polynomial result = constant(1);
  for (const int sign : {1, -1}) {
    for (const auto& [prime, count] : factors(sign > 0 ? base.get_num() : base.get_den())) {
      if (prime == 1) continue;
      result = multiply(result, normalise({{prime.get_str(), exponent * sign * count}}, 1));
    }
  }
  return result;
}

Polynomial Algebra::sum_atom(const Polynomial& base, const Rational& exponent) {
  std::string atom = "(" + key(base) + ")";
  if (undefined_) return {};
  meanings_.try_emplace(atom, Meaning{"", base, {}});
  return normalise({{std::move(atom), exponent}}, 1);
}

Polynomial Algebra::whole_power(const Polynomial& base, int64_t exponent) {
  Polynomial result = constant(1);
  for (int64_t i = 0; i < exponent && !budget_.exhausted() && !undefined_; ++i)
    result = multiply(result, base);
  return result;
}

// (c a^p b^q)^r. The even power of a symbol under an even root is an absolute value, not a smaller power.
Polynomial Algebra::monomial_power(const Monomial& m, const Rational& coefficient, const Rational& exponent) {
  Polynomial result = number_power(coefficient, exponent);
  for (const auto& [atom, up] : m) {
    if (undefined_ || budget_.exhausted()) return {};
    const bool even_root = mpz_even_p(exponent.get_den_mpz_t()) != 0;
    const bool even_power = is_whole(up) && mpz_even_p(up.get_num_mpz_t()) != 0;
    const bool safe = !even_root || !even_power || is_positive_atom(atom);
    result = multiply(result, safe ? normalise({{atom, up * exponent}}, 1)
                                   : sum_atom({{Monomial{{atom, up}}, 1}}, exponent));
  }
  return result;
}

Polynomial Algebra::power(const Polynomial& base, const Rational& exponent) {
  if (exponent == 0) return constant(1);
  if (base.empty()) return exponent > 0 ? Polynomial{} : make_no_value();
  if (!fits(exponent) || budget_.exhausted()) return {};
  if (base.size() == 1) return monomial_power(base.begin()->first, base.begin()->second, exponent);
  if (is_whole(exponent) && exponent > 0) {
    if (exponent > kMaxExpansion) return make_undefined();
    return whole_power(base, exponent.get_num().get_si());
  }
  // A sum is divided by its first coefficient, so that 1/(2x+2) and 1/(x+1) share their atom. Its sign only
  // leaves the root where the exponent is whole.
  Rational first = base.begin()->second;
  if (!is_whole(exponent)) first = abs(first);
  return multiply(number_power(first, exponent), sum_atom(scale(base, 1 / first), exponent));
}

Polynomial Algebra::power(const Polynomial& base, const Polynomial& exponent) {
  const std::optional<Rational> number = as_rational(exponent);
  return number ? power(base, *number) : symbolic_power(base, exponent);
}

// b^(q + c m + ...) = b^q (b^m)^c ...; a rational base is split into its primes first.
Polynomial Algebra::symbolic_power(const Polynomial& base, const Polynomial& exponent) {
  if (base.empty()) return make_undefined();
  const std::optional<Rational> number = as_rational(base);
  if (number && (*number < 0 || *number == 1)) return *number == 1 ? constant(1) : make_undefined();
  std::map<std::string, std::pair<Polynomial, int64_t>> bases;
  if (number) {
    for (const int sign : {1, -1}) {
      for (const auto& [prime, count] : factors(sign > 0 ? number->get_num() : number->get_den())) {
        if (prime != 1) bases[prime.get_str()] = {constant(prime), sign * count};
      }
    }
  } else {
    bases[key(base)] = {base, 1};
  }
  Polynomial result = constant(1);
  for (const auto& [name, entry] : bases) {
    for (const auto& [m, c] : exponent) {
      if (undefined_ || budget_.exhausted()) return {};
      const Rational times = c * entry.second;
      if (m.empty()) {
        result = multiply(result, power(entry.first, times));
        continue;
      }
      const Polynomial up{{m, 1}};
      std::string atom = "pow(" + name + "|" + key(up) + ")";
      if (undefined_) return {};
      meanings_.try_emplace(atom, Meaning{"pow", entry.first, up});
      result = multiply(result, normalise({{std::move(atom), times}}, 1));
    }
  }
  return result;
}

Polynomial Algebra::root(const Polynomial& base, const Polynomial& degree) {
  return power(base, divide(constant(1), degree));
}

Polynomial Algebra::factorial(const Polynomial& n) {
  const std::optional<Rational> number = as_rational(n);
  if (!number) return function_atom("factorial", n);
  if (!is_whole(*number) || *number < 0 || *number > 1000) return make_undefined();
  mpz_class value;
  mpz_fac_ui(value.get_mpz_t(), number->get_num().get_ui());
  return fits(value) ? constant(value) : Polynomial{};
}

Polynomial Algebra::function_atom(std::string_view function, const Polynomial& argument) {
  std::string atom = std::string(function) + "(" + key(argument) + ")";
  if (undefined_) return {};
  meanings_.try_emplace(atom, Meaning{std::string(function), argument, {}});
  return normalise({{std::move(atom), 1}}, 1);
}

// ln of a positive rational is the sum over its primes; ln e = 1.
Polynomial Algebra::logarithm(const Polynomial& argument) {
  const std::optional<Rational> number = as_rational(argument);
  if (argument == symbol("e")) return constant(1);
  if (!number) return function_atom("ln", argument);
  if (*number <= 0) return make_undefined();
  Polynomial result;
  for (const int sign : {1, -1}) {
    for (const auto& [prime, count] : factors(sign > 0 ? number->get_num() : number->get_den())) {
      if (prime != 1) result = add(std::move(result), function_atom("ln", constant(prime)), sign * count);
    }
  }
  return result;
}

Polynomial Algebra::apply(std::string_view function, const Polynomial& argument) {
  const bool flip = !argument.empty() && argument.begin()->second < 0;
  const Polynomial straight = flip ? scale(argument, -1) : argument;
  auto sine = [&] { return scale(function_atom("sin", straight), flip ? -1 : 1); };
  auto cosine = [&] { return function_atom("cos", straight); };
  if (function == "ln") return logarithm(argument);
  if (function == "exp") return power(symbol("e"), argument);
  if (function == "sin") return argument.empty() ? Polynomial{} : sine();
  if (function == "cos") return argument.empty() ? constant(1) : cosine();
  if (function == "tan") return argument.empty() ? Polynomial{} : divide(sine(), cosine());
  if (function == "sec") return argument.empty() ? constant(1) : divide(constant(1), cosine());
  if (function == "csc") return argument.empty() ? make_no_value() : divide(constant(1), sine());
  if (function == "cot") return argument.empty() ? make_no_value() : divide(cosine(), sine());
  if (function == "abs") {
    const std::optional<Rational> number = as_rational(argument);
    return number ? constant(abs(*number)) : function_atom("abs", straight);
  }
  return function_atom(function, argument);
}

}  // namespace fulcrum
