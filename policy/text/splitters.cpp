#include "policy/text/splitters.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

// The text as code points with classes: every matcher below works on indices into it.
class Characters {
 public:
  explicit Characters(std::string_view text) : text_(text) {
    points_.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = first_char(text.substr(i));
      points_.push_back({c.point, static_cast<uint32_t>(i), class_of(c.point)});
      i += c.length;
    }
  }
  size_t size() const { return points_.size(); }
  char32_t point(size_t i) const { return i < size() ? points_[i].point : kMalformed; }
  // Of a position after the end: a class that continues no run.
  CharClass cls(size_t i) const { return points_[i].cls; }
  bool is(size_t i, CharClass c) const { return i < size() && cls(i) == c; }
  // The end of the run of `c` that begins at i (at most `longest` characters).
  size_t run(size_t i, CharClass c, size_t longest = SIZE_MAX) const {
    size_t end = i;
    while (is(end, c) && end - i < longest) ++end;
    return end;
  }
  size_t spaces(size_t i) const {
    while (i < size() && is_space(cls(i))) ++i;
    return i;
  }
  std::string_view slice(size_t begin, size_t end) const {
    const size_t from = points_[begin].offset;
    return text_.substr(from, (end < size() ? points_[end].offset : text_.size()) - from);
  }

 private:
  struct Point {
    char32_t point;
    uint32_t offset;
    CharClass cls;
  };
  std::string_view text_;
  std::vector<Point> points_;
};

// 's 't 're 've 'm 'll 'd at i: its length, or 0.
size_t contraction(const Characters& text, size_t i, bool any_case) {
  if (text.point(i) != '\'') return 0;
  const auto letter = [&](size_t k) -> char32_t {
    const char32_t c = text.point(k);
    if (!any_case) return c;
    if (c == 0x17F) return 's';  // the long s folds to s
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
  };
  const char32_t first = letter(i + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char32_t second = letter(i + 2);
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  return first == 'l' && second == 'l' ? 3 : 0;
}

// \s+(?!\S)|\s+ : all but the last of the spaces before a word, so that the word keeps one.
size_t trailing_spaces(const Characters& text, size_t i) {
  const size_t end = text.spaces(i);
  return end == text.size() || end - i == 1 ? end : end - 1;
}

size_t next_gpt2(const Characters& text, size_t i) {
  if (const size_t n = contraction(text, i, false)) return i + n;
  const size_t word = i + (text.point(i) == ' ' ? 1 : 0);
  if (word < text.size() && !is_space(text.cls(word))) return text.run(word, text.cls(word));
  return trailing_spaces(text, i);
}

// The pattern that cl100k began and Llama-3 and Qwen2 follow; they differ in how many digits make a word.
size_t next_cl100k(const Characters& text, size_t i, size_t digits) {
  if (const size_t n = contraction(text, i, true)) return i + n;
  const CharClass c = text.cls(i);
  if (c == CharClass::kLetter) return text.run(i, c);
  if (c == CharClass::kNumber) return text.run(i, c, digits);
  if (c != CharClass::kNewline && text.is(i + 1, CharClass::kLetter))
    return text.run(i + 1, CharClass::kLetter);
  const size_t mark = i + (text.point(i) == ' ' ? 1 : 0);
  if (text.is(mark, CharClass::kOther)) {
    return text.run(text.run(mark, CharClass::kOther), CharClass::kNewline);
  }
  const size_t end = text.spaces(i);
  for (size_t last = end; last > i; --last) {  // \s*[\r\n]+ : up to the last line end among the spaces
    if (text.cls(last - 1) == CharClass::kNewline) return last;
  }
  return trailing_spaces(text, i);
}

size_t next_by_digits(const Characters& text, size_t i, size_t digits) {
  if (text.cls(i) == CharClass::kNumber) return text.run(i, CharClass::kNumber, digits);
  while (i < text.size() && text.cls(i) != CharClass::kNumber) ++i;
  return i;
}

size_t next_before_space_mark(const Characters& text, size_t i) {
  do ++i;
  while (i < text.size() && text.point(i) != 0x2581);
  return i;
}

size_t next_word(Splitter splitter, const Characters& text, size_t i) {
  switch (splitter) {
    case Splitter::kGpt2:
      return next_gpt2(text, i);
    case Splitter::kCl100k:
      return next_cl100k(text, i, 3);
    case Splitter::kQwen2:
      return next_cl100k(text, i, 1);
    case Splitter::kDigitRuns:
      return next_by_digits(text, i, SIZE_MAX);
    case Splitter::kSingleDigits:
      return next_by_digits(text, i, 1);
    case Splitter::kBeforeSpaceMark:
      return next_before_space_mark(text, i);
  }
  return text.size();
}

using Named = std::pair<std::string_view, Splitter>;

// The expressions as they stand in published tokenizer files; a possessive quantifier matches what the plain
// one does here, since no class that follows overlaps.
constexpr std::array<Named, 6> kPatterns = {{
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Splitter::kGpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Splitter::kGpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     Splitter::kCl100k},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     Splitter::kCl100k},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     Splitter::kQwen2},
    {R"(\p{N})", Splitter::kSingleDigits},
}};

constexpr std::array<Named, 4> kNames = {{{"gpt2", Splitter::kGpt2},
                                          {"cl100k", Splitter::kCl100k},
                                          {"llama3", Splitter::kCl100k},
                                          {"qwen2", Splitter::kQwen2}}};

template <size_t N>
std::optional<Splitter> look_up(const std::array<Named, N>& table, std::string_view key) {
  for (const auto& [name, splitter] : table) {
    if (name == key) return splitter;
  }
  return std::nullopt;
}

}  // namespace

void split_words(Splitter splitter, std::string_view text, std::vector<std::string_view>& words) {
  const Characters characters(text);
  for (size_t i = 0; i < characters.size();) {
    const size_t end = next_word(splitter, characters, i);
    words.push_back(characters.slice(i, end));
    i = end;
  }
}

std::vector<std::string> splitter_names() {
  std::vector<std::string> out;
  for (const auto& [name, splitter] : kNames) out.emplace_back(name);
  return out;
}

Result<Splitter> splitter_by_name(std::string_view name) {
  if (const auto splitter = look_up(kNames, name)) return *splitter;
  return invalid_argument("no splitter is called " + in_quotes(name) + "; there are " +
                          join(splitter_names(), ", "));
}

std::string splitter_choice() {
  return "--splitter " + join(splitter_names(), "|") + ", in a job 'splitter'";
}

Status splitter_not_used() {
  return invalid_argument(
      "a splitter (--splitter, in a job 'splitter') is for byte-level tokenizers; this one has no such step: "
      "leave it out");
}

std::optional<Splitter> splitter_of_pattern(std::string_view regex) { return look_up(kPatterns, regex); }

}  // namespace fulcrum
