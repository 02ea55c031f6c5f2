// Numbers as people write them, read exactly: 1,000.50  -3/4  2 1/2  6.02e23  45%  $12  1 000  2,74
// \frac{1}{2} Called by the numeric and math verifiers. Pure functions, thread-safe; the size of a number is
// checked before it is computed.
#pragma once

#include <gmpxx.h>

#include <optional>
#include <string_view>

namespace fulcrum {

using Rational = mpq_class;

struct Number {
  Rational value;
  bool percent = false;  // a percent sign followed; `value` is the number before it
};

// The whole text is one number (around it: blanks, currency signs, a full stop). A comma or blank before
// groups of exactly three digits separates thousands; any other single comma is a decimal comma.
std::optional<Number> parse_number(std::string_view text);

// The last number in running text: what stands there, sign and percent sign included; empty if there is none.
// A digit inside a word (x2y) and 1.2.3 are no numbers, a minus sign after an operand (16-3) no sign. A
// number inside \frac{}{} or \sqrt{} is not one of its own: all of it stands there, 2\frac{1}{2}, whether it
// has a value or not.
std::string_view last_number(std::string_view text);

// The number of binary digits of numerator and denominator together.
size_t bit_size(const Rational& value);
inline constexpr size_t kMaxBits = 1 << 15;  // nothing larger is ever computed

}  // namespace fulcrum
