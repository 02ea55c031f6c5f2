// The walk over one written number. Used by the readers of numbers (number.cpp, last_number.cpp) only.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "reward/math/characters.h"
#include "reward/math/number.h"

namespace fulcrum {

inline constexpr size_t kMaxDigits = 4000;
inline constexpr int64_t kMaxExponent = 4000;
inline constexpr std::string_view kMinusSign = "\xE2\x88\x92";  // U+2212

// Reads unsigned numbers from the front of a text.
class NumberScanner {
 public:
  // `blank_groups`: a blank may stand before a group of thousands.
  NumberScanner(std::string_view text, bool blank_groups) : text_(text), blank_groups_(blank_groups) {}

  size_t position() const { return at_; }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  void skip(size_t n) { at_ += n; }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }

  // A number as it is written: value = digits * 10^exponent.
  struct Decimal {
    std::string digits;
    int64_t exponent = 0;
  };

  // digits with separators, a fraction part, an exponent; no digits: no number stands here.
  Decimal written() {
    Decimal number{whole_part()};
    const bool comma = peek() == ',' && is_decimal_digit(peek(1)) && !grouped_;
    std::string_view fraction;
    if ((peek() == '.' || comma) && is_decimal_digit(peek(1))) {
      ++at_;
      fraction = run_of_digits();
    }
    if (number.digits.empty() && fraction.empty()) return number;
    number.exponent = exponent_part() - static_cast<int64_t>(fraction.size());
    number.digits += fraction;
    return number;
  }

  std::optional<Rational> decimal() {
    const auto [digits, exponent] = written();
    if (digits.empty() || digits.size() > kMaxDigits || std::abs(exponent) > kMaxExponent)
      return std::nullopt;
    const mpz_class mantissa(digits, 10);
    if (exponent == 0) return Rational(mantissa);
    mpz_class power;
    mpz_ui_pow_ui(power.get_mpz_t(), 10, static_cast<unsigned long>(std::abs(exponent)));
    Rational value = exponent < 0 ? Rational(mantissa, power) : Rational(mantissa * power);
    value.canonicalize();
    return value;
  }

 private:
  std::string_view run_of_digits() {
    const size_t begin = at_;
    while (is_decimal_digit(peek())) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  bool group_follows() const {
    const bool separator = peek() == ',' || (blank_groups_ && peek() == ' ');
    return separator && is_decimal_digit(peek(1)) && is_decimal_digit(peek(2)) && is_decimal_digit(peek(3)) &&
           !is_decimal_digit(peek(4));
  }

  std::string whole_part() {
    std::string digits(run_of_digits());
    grouped_ = false;
    // "0,111" has a decimal comma: no one writes a group of thousands after a lone zero.
    if (digits.empty() || digits.size() > 3 || digits == "0") return digits;
    while (group_follows()) {
      ++at_;
      digits += run_of_digits();
      grouped_ = true;
    }
    return digits;
  }

  int64_t exponent_part() {
    if (peek() != 'e' && peek() != 'E') return 0;
    const size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
    if (!is_decimal_digit(peek(1 + sign))) return 0;
    const bool negative = peek(1) == '-';
    at_ += 1 + sign;
    const std::string digits(run_of_digits());
    const int64_t value = digits.size() > 6 ? kMaxExponent + kMaxDigits * 2 : std::stoll(digits);
    return negative ? -value : value;
  }

  std::string_view text_;
  bool blank_groups_;
  bool grouped_ = false;
  size_t at_ = 0;
};

}  // namespace fulcrum
