#include "reward/math/number.h"

#include <algorithm>
#include <string>

#include "engine/core/text.h"
#include "reward/math/latex_command.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxDigits = 4000;
constexpr int64_t kMaxExponent = 4000;
constexpr std::string_view kMinus = "\xE2\x88\x92";  // U+2212

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_currency(std::string_view s, size_t at, size_t& length) {
  for (const std::string_view sign : {"$", "\\$", "\xC2\xA3", "\xE2\x82\xAC"}) {
    if (s.substr(at).starts_with(sign)) return length = sign.size(), true;
  }
  return false;
}

// Reads unsigned numbers from the front of a text.
class Scanner {
 public:
  Scanner(std::string_view text, bool blank_groups) : text_(text), blank_groups_(blank_groups) {}

  size_t position() const { return at_; }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  void skip(size_t n) { at_ += n; }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }

  // digits with separators, a fraction part, an exponent.
  std::optional<Rational> decimal() {
    std::string digits = whole_part();
    std::string fraction;
    const bool comma = peek() == ',' && is_digit(peek(1)) && !grouped_;
    if ((peek() == '.' || comma) && is_digit(peek(1))) {
      ++at_;
      fraction = run_of_digits();
    }
    if (digits.empty() && fraction.empty()) return std::nullopt;
    const int64_t exponent = exponent_part() - static_cast<int64_t>(fraction.size());
    digits += fraction;
    if (digits.size() > kMaxDigits || std::abs(exponent) > kMaxExponent) return std::nullopt;
    mpz_class power;
    mpz_ui_pow_ui(power.get_mpz_t(), 10, static_cast<unsigned long>(std::abs(exponent)));
    const mpz_class mantissa(digits, 10);
    Rational value = exponent < 0 ? Rational(mantissa, power) : Rational(mantissa * power);
    value.canonicalize();
    return value;
  }

 private:
  std::string run_of_digits() {
    const size_t begin = at_;
    while (is_digit(peek())) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  bool group_follows() const {
    const bool separator = peek() == ',' || (blank_groups_ && peek() == ' ');
    return separator && is_digit(peek(1)) && is_digit(peek(2)) && is_digit(peek(3)) && !is_digit(peek(4));
  }

  std::string whole_part() {
    std::string digits = run_of_digits();
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
    if (!is_digit(peek(1 + sign))) return 0;
    const bool negative = peek(1) == '-';
    at_ += 1 + sign;
    const std::string digits = run_of_digits();
    const int64_t value = digits.size() > 6 ? kMaxExponent + kMaxDigits * 2 : std::stoll(digits);
    return negative ? -value : value;
  }

  std::string_view text_;
  bool blank_groups_;
  bool grouped_ = false;
  size_t at_ = 0;
};

std::string_view strip_number(std::string_view text, bool& negative) {
  text = trim(text);
  for (;;) {
    size_t length = 0;
    if (text.starts_with('-')) {
      negative = !negative;
      text.remove_prefix(1);
    } else if (text.starts_with(kMinus)) {
      negative = !negative;
      text.remove_prefix(kMinus.size());
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
  Scanner scan(text, true);
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

// How far the unsigned number at the front of `text` reaches: 1,000.5  3/4  2 1/2  45%.
size_t number_length(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  if (digits > kMaxDigits) return digits;
  Scanner scan(text.substr(0, 4 * kMaxDigits), false);
  scan.decimal();
  size_t ahead = 0;
  if (scan.peek() == ' ') {
    for (ahead = 1; is_digit(scan.peek(ahead)) && ahead < 8;) ++ahead;
    if (ahead > 1 && scan.peek(ahead) == '/' && is_digit(scan.peek(ahead + 1)))
      scan.skip(ahead);  // a mixed number
  }
  if (scan.peek() == '/' && is_digit(scan.peek(1))) {
    scan.skip(1);
    scan.decimal();
  }
  if (scan.peek() == '%')
    scan.skip(1);
  else if (scan.peek() == '\\' && scan.peek(1) == '%')
    scan.skip(2);
  return std::max<size_t>(scan.position(), 1);
}

// Where the run of digits and points ends that goes on behind text[begin, end) after its point: 1.2.3 is a
// version or a section, no number. `end`: it does not go on.
size_t dotted_end(std::string_view text, size_t begin, size_t end) {
  const bool goes_on = text.substr(begin, end - begin).find('.') != std::string_view::npos &&
                       end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1]);
  return goes_on ? std::min(text.find_first_not_of("0123456789.", end), text.size()) : end;
}

// How much at the end of `before` is the sign of the number that follows: a dollar sign, then a minus or plus
// that does not stand after an operand.
size_t sign_length(std::string_view before) {
  const size_t size = before.size();
  if (before.ends_with('$')) before.remove_suffix(1);
  const size_t dollar = size - before.size();
  const size_t sign = before.ends_with('-') || before.ends_with('+') ? 1
                      : before.ends_with(kMinus)                     ? kMinus.size()
                                                                     : 0;
  if (sign == 0) return dollar;
  before.remove_suffix(sign);
  const bool after_operand = !before.empty() && (is_digit(before.back()) || is_letter(before.back()) ||
                                                 before.back() == ')' || before.back() == '}');
  return after_operand ? dollar : dollar + sign;
}

// How far a command at the front of `text` reaches that holds a number, with a percent sign behind it; 0: it
// does not.
size_t command_length(std::string_view text) {
  const std::optional<LatexCommand> command = latex_command(text);
  if (!command) return 0;
  if (text.substr(0, command->length).find_first_of("0123456789") == std::string_view::npos) return 0;
  const std::string_view behind = text.substr(command->length);
  return command->length + (behind.starts_with('%') ? 1 : behind.starts_with("\\%") ? 2 : 0);
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
  Scanner scan(text, true);
  std::optional<Rational> value = scan.decimal();
  if (!value) return std::nullopt;
  scan.skip_blanks();
  if (is_digit(scan.peek()) && value->get_den() == 1) {  // a mixed number: 2 1/2
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

std::string_view last_number(std::string_view text) {
  std::string_view last;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\\') {
      const size_t end = i + command_length(text.substr(i));
      if (end > i && !(i > 0 && is_letter(text[i - 1]))) {
        const bool joins = last.data() + last.size() == text.data() + i && is_digit(last.back());
        const size_t begin =
            joins ? static_cast<size_t>(last.data() - text.data()) : i - sign_length(text.substr(0, i));
        last = text.substr(begin, end - begin);
      }
      i = std::max(end, i + 1);
      continue;
    }
    const bool starts = is_digit(text[i]) || (text[i] == '.' && i + 1 < text.size() && is_digit(text[i + 1]));
    if (!starts) {
      ++i;
      continue;
    }
    const size_t end = i + number_length(text.substr(i)), dotted = dotted_end(text, i, end);
    const bool inside_a_word = i > 0 && is_letter(text[i - 1]);
    if (!inside_a_word && dotted == end) {
      const size_t begin = i - sign_length(text.substr(0, i));
      last = text.substr(begin, end - begin);
    }
    i = dotted;
  }
  return last;
}

}  // namespace fulcrum
