// last_number() of reward/math/number.h.
#include <algorithm>

#include "reward/math/latex_command.h"
#include "reward/math/number.h"
#include "reward/math/number_scanner.h"

namespace fulcrum {
namespace {

bool is_of_word(char c) { return is_letter(c) || c == '_'; }

// How far the unsigned number at the front of `text` reaches: 1,000.5  3/4  2 1/2  45%.
size_t number_length(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && is_decimal_digit(text[digits])) ++digits;
  if (digits > kMaxDigits) return digits;
  NumberScanner scan(text.substr(0, 4 * kMaxDigits), false);
  scan.written();
  size_t ahead = 0;
  if (scan.peek() == ' ') {
    for (ahead = 1; is_decimal_digit(scan.peek(ahead)) && ahead < 8;) ++ahead;
    if (ahead > 1 && scan.peek(ahead) == '/' && is_decimal_digit(scan.peek(ahead + 1)))
      scan.skip(ahead);  // a mixed number
  }
  if (scan.peek() == '/' && is_decimal_digit(scan.peek(1))) {
    scan.skip(1);
    scan.written();
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
                       end + 1 < text.size() && text[end] == '.' && is_decimal_digit(text[end + 1]);
  return goes_on ? std::min(text.find_first_not_of("0123456789.", end), text.size()) : end;
}

// How much at the end of `before` is the sign of the number that follows: a dollar sign, then a minus or plus
// that does not stand after an operand.
size_t sign_length(std::string_view before) {
  const size_t size = before.size();
  if (before.ends_with('$')) before.remove_suffix(1);
  const size_t dollar = size - before.size();
  const size_t sign = before.ends_with('-') || before.ends_with('+') ? 1
                      : before.ends_with(kMinusSign)                 ? kMinusSign.size()
                                                                     : 0;
  if (sign == 0) return dollar;
  before.remove_suffix(sign);
  const bool after_operand =
      !before.empty() && (is_decimal_digit(before.back()) || is_of_word(before.back()) ||
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

// The last number, by one walk from the front.
std::string_view last_number_of(std::string_view text) {
  std::string_view last;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\\') {
      const size_t end = i + command_length(text.substr(i));
      if (end > i && !(i > 0 && is_of_word(text[i - 1]))) {
        const bool joins = last.data() + last.size() == text.data() + i && is_decimal_digit(last.back());
        const size_t begin =
            joins ? static_cast<size_t>(last.data() - text.data()) : i - sign_length(text.substr(0, i));
        last = text.substr(begin, end - begin);
      }
      i = std::max(end, i + 1);
      continue;
    }
    const bool starts =
        is_decimal_digit(text[i]) || (text[i] == '.' && i + 1 < text.size() && is_decimal_digit(text[i + 1]));
    if (!starts) {
      ++i;
      continue;
    }
    const size_t end = i + number_length(text.substr(i)), dotted = dotted_end(text, i, end);
    const bool inside_a_word = i > 0 && is_of_word(text[i - 1]);
    if (!inside_a_word && dotted == end) {
      const size_t begin = i - sign_length(text.substr(0, i));
      last = text.substr(begin, end - begin);
    }
    i = dotted;
  }
  return last;
}

}  // namespace

// A number ends with its line, unless it stands in a command: the lines are looked at from the last one on.
std::string_view last_number(std::string_view text) {
  if (text.find('\\') != std::string_view::npos) return last_number_of(text);
  for (;;) {
    const size_t begin = text.rfind('\n') + 1;  // 0 in the first line
    const std::string_view number = last_number_of(text.substr(begin));
    if (!number.empty() || begin == 0) return number;
    text = text.substr(0, begin - 1);
  }
}

}  // namespace fulcrum
