#include "reward/math/number.h"

#include <algorithm>
#include <string>

#include "engine/core/text.h"
#include "reward/math/latex_command.h"
#include "reward/math/number_scanner.h"

namespace fulcrum {
namespace {

bool is_currency(std::string_view s, size_t at, size_t& length) {
  for (const std::string_view sign : {"$", "\\$", "\xC2\xA3", "\xE2\x82\xAC"}) {
    if (s.substr(at).starts_with(sign)) return length = sign.size(), true;
  }
  return false;
}

std::string_view strip_number(std::string_view text, bool& negative) {
  text = trim(text);
  for (;;) {
    size_t length = 0;
    if (text.starts_with('-')) {
      negative = !negative;
      text.remove_prefix(1);
    } else if (text.starts_with(kMinusSign)) {
      negative = !negative;
      text.remove_prefix(kMinusSign.size());
    } else if (text.starts_with('+')) {
      text.remove_prefix(1);
    } else if (is_currency(text, 0, length)) {
      text.remove_prefix(length);
    } else {
      break;
    }
    text = trim(text);
  }
  while (text.ends_with('.') || text.ends_with('$') || text.ends_with(',')) {
    text = trim(text.substr(0, text.size() - 1));
  }
  return text;
}

// Digits and a point, nothing else but blanks and a sign around.
std::optional<Rational> plain_number(std::string_view text) {
  bool negative = false;
  text = strip_number(text, negative);
  NumberScanner scan(text, true);
  std::optional<Rational> value = scan.decimal();
  if (!value || scan.position() != text.size()) return std::nullopt;
  return negative ? Rational(-*value) : *value;
}

// \frac{a}{b}, or a whole number before one below 1: 2\frac{1}{2}.
std::optional<Rational> latex_fraction(std::string_view text) {
  const std::string_view before = text.substr(0, text.find('\\'));
  text.remove_prefix(before.size());
  const std::optional<LatexCommand> command = latex_command(text);
  if (!command || !command->fraction || command->length != text.size()) return std::nullopt;
  const std::optional<Rational> top = plain_number(command->top), bottom = plain_number(command->bottom);
  if (!top || !bottom || *bottom == 0) return std::nullopt;
  const Rational part = *top / *bottom;
  if (before.empty()) return part;
  const std::optional<Rational> whole = plain_number(before);
  const bool mixed = whole && whole->get_den() == 1 && part > 0 && part < 1;
  return mixed ? std::optional(Rational(*whole + part)) : std::nullopt;
}

}  // namespace

size_t bit_size(const Rational& value) {
  return mpz_sizeinbase(value.get_num_mpz_t(), 2) + mpz_sizeinbase(value.get_den_mpz_t(), 2);
}

std::optional<Number> parse_number(std::string_view text) {
  bool negative = false;
  text = strip_number(text, negative);
  if (text.size() > 2 * kMaxDigits) return std::nullopt;
  Number number;
  if (text.ends_with('%')) {
    number.percent = true;
    text.remove_suffix(1);
    if (text.ends_with('\\')) text.remove_suffix(1);
    text = trim(text);
  }
  if (text.find('\\') != std::string_view::npos) {
    const std::optional<Rational> value = latex_fraction(text);
    if (!value || bit_size(*value) > kMaxBits) return std::nullopt;
    number.value = negative ? Rational(-*value) : *value;
    return number;
  }
  NumberScanner scan(text, true);
  std::optional<Rational> value = scan.decimal();
  if (!value) return std::nullopt;
  scan.skip_blanks();
  if (is_decimal_digit(scan.peek()) && value->get_den() == 1) {  // a mixed number: 2 1/2
    const std::optional<Rational> top = scan.decimal();
    if (!top || scan.peek() != '/') return std::nullopt;
    scan.skip(1);
    const std::optional<Rational> bottom = scan.decimal();
    if (!bottom || *bottom == 0) return std::nullopt;
    *value += *top / *bottom;
  } else if (scan.peek() == '/') {
    scan.skip(1);
    scan.skip_blanks();
    const std::optional<Rational> bottom = scan.decimal();
    if (!bottom || *bottom == 0) return std::nullopt;
    *value /= *bottom;
  }
  if (scan.position() != text.size() || bit_size(*value) > kMaxBits) return std::nullopt;
  number.value = negative ? Rational(-*value) : *value;
  return number;
}

}  // namespace fulcrum
