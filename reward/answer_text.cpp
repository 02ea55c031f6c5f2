#include "reward/answer_text.h"

#include <array>
#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "reward/math/number.h"

namespace fulcrum {
namespace {

// A stretch of text that may be an answer.
struct Candidate {
  size_t begin = 0, end = 0;              // with its delimiters
  size_t inner_begin = 0, inner_end = 0;  // without
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Whether only connectives stand between two parts of one answer: "1} and \\boxed{2", "$1$, $2$ or $3$".
bool connects(std::string_view between) {
  if (between.size() > 32) return false;
  int words = 0;
  while (!between.empty()) {
    size_t length = std::string_view(" ,;\n\t$").find(between[0]) != std::string_view::npos ? 1 : 0;
    for (const std::string_view space : {"\\quad", "\\qquad", "\\ "}) {
      if (between.starts_with(space)) length = space.size();
    }
    for (const std::string_view word :
         {"and", "or", "\\text{ and }", "\\text{and}", "\\text{ or }", "\\text{or}"}) {
      if (!between.starts_with(word)) continue;
      length = word.size();
      ++words;
    }
    if (length == 0 || words > 1) return false;
    between.remove_prefix(length);
  }
  return true;
}

std::string_view inner_of(std::string_view text, const Candidate& c) {
  return trim(text.substr(c.inner_begin, c.inner_end - c.inner_begin));
}

// The last candidate, together with those before it that connectives join to it, as a list.
BoxedText joined_tail(std::string_view text, const std::vector<Candidate>& all) {
  size_t first = all.size() - 1;
  while (first > 0 && connects(text.substr(all[first - 1].end, all[first].begin - all[first - 1].end)))
    --first;
  BoxedText result{"", all.back().end};
  for (size_t i = first; i < all.size(); ++i) {
    if (i > first) result.text += ", ";
    result.text += inner_of(text, all[i]);
  }
  return result;
}

std::vector<Candidate> boxes(std::string_view text) {
  std::vector<Candidate> found;
  for (size_t begin = text.find('\\'); begin != std::string_view::npos; begin = text.find('\\', begin)) {
    const std::string_view rest = text.substr(begin);
    if (!rest.starts_with("\\boxed{") && !rest.starts_with("\\fbox{")) {
      ++begin;
      continue;
    }
    const size_t inner = begin + rest.find('{') + 1;
    int depth = 1;
    size_t end = inner;
    for (; end < text.size() && depth > 0; ++end) {
      if (text[end] == '\\')
        ++end;  // the character after a backslash is no brace
      else if (text[end] == '{')
        ++depth;
      else if (text[end] == '}')
        --depth;
    }
    if (depth > 0) return found;  // never closed: the completion was cut, there is no answer in it
    found.push_back({begin, end, inner, end - 1});
    begin = end;
  }
  return found;
}

// $..$, $$..$$, \(..\), \[..\] from left to right, none inside another.
std::vector<Candidate> formulas(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kDelimiters{
      {{"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}}};
  std::array<bool, 4> never_closed{};  // a search that failed once fails for ever: the whole stays linear
  std::vector<Candidate> found;
  for (size_t i = text.find_first_of("$\\"); i != std::string_view::npos; i = text.find_first_of("$\\", i)) {
    size_t next = i + (text[i] == '\\' ? 2 : 1);
    for (size_t kind = 0; kind < kDelimiters.size(); ++kind) {
      const auto& [open, close] = kDelimiters[kind];
      if (never_closed[kind] || !text.substr(i).starts_with(open)) continue;
      const size_t inner = i + open.size(), end = text.find(close, inner);
      never_closed[kind] = end == std::string_view::npos;
      if (never_closed[kind]) continue;
      found.push_back({i, end + close.size(), inner, end});
      next = found.back().end;
      break;
    }
    i = next;
  }
  std::erase_if(found, [&](const Candidate& c) { return inner_of(text, c).empty(); });
  return found;
}

// The last formula (with those that connectives join to it) or number, whichever comes later.
std::optional<MathText> last_formula_or_number(std::string_view text) {
  const std::vector<Candidate> all = formulas(text);
  const std::string_view number = last_number(all.empty() ? text : text.substr(all.back().end));
  if (!number.empty()) return MathText{std::string(number), false};
  if (all.empty()) return std::nullopt;
  return MathText{joined_tail(text, all).text, true};
}

size_t rfind_icase(std::string_view text, std::string_view lower) {
  for (size_t at = text.size() + 1; at-- > 0;) {
    if (starts_with_icase(text.substr(at), lower)) return at;
  }
  return std::string_view::npos;
}

// The sentence after the last "answer is" or "final answer:".
std::string_view stated_answer(std::string_view text) {
  size_t begin = std::string_view::npos;
  for (const std::string_view phrase : {"answer is", "final answer:", "answer:"}) {
    const size_t at = rfind_icase(text, phrase);
    if (at == std::string_view::npos) continue;
    if (begin == std::string_view::npos || at + phrase.size() > begin) begin = at + phrase.size();
  }
  if (begin == std::string_view::npos) return {};
  size_t end = begin;
  while (end < text.size() && text[end] != '\n') {
    const bool stop =
        text[end] == '.' && (end + 1 == text.size() || text[end + 1] == ' ' || text[end + 1] == '\n');
    if (stop && end + 2 < text.size() && is_letter(text[end + 2])) break;
    ++end;
  }
  return text.substr(begin, end - begin);
}

std::optional<std::string> in_answer_tag(std::string_view text) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  const size_t close = text.rfind(kClose);
  const size_t open = close == std::string_view::npos ? close : text.rfind(kOpen, close);
  if (open == std::string_view::npos) return std::nullopt;
  return std::string(trim(text.substr(open + kOpen.size(), close - open - kOpen.size())));
}

std::optional<std::string> number_in(std::string_view text) {
  if (parse_number(text))
    return std::string(trim(text));  // "1 000": blanks group digits only where all is one number
  const std::string_view number = last_number(text);
  return number.empty() ? std::nullopt : std::optional(std::string(number));
}

std::optional<std::string> non_empty(std::optional<std::string> text) {
  return text && !text->empty() ? text : std::nullopt;
}

std::optional<std::string> place(const RewardConfig& config, std::string_view text) {
  const auto boxed = [&]() -> std::optional<std::string> {
    std::optional<BoxedText> box = last_boxed(text);
    return box ? std::optional(std::move(box->text)) : std::nullopt;
  };
  if (config.extract == "whole") return std::string(trim(text));
  if (config.extract == "boxed") return boxed();
  if (config.extract == "after_marker") return text_after(text, config.marker);
  if (config.extract == "answer_tag") return in_answer_tag(text);
  if (config.extract == "last_number") return number_in(text);
  if (config.name == "numeric") {
    if (std::optional<std::string> marked = text_after(text, config.marker)) return marked;
    if (std::optional<std::string> box = boxed()) return box;
    return number_in(text);
  }
  if (config.name == "math") {
    if (std::optional<std::string> marked = text_after(text, config.marker)) return marked;
    std::optional<MathText> found = math_text(text);
    return found ? std::optional(std::move(found->text)) : std::nullopt;
  }
  return std::string(trim(text));
}

}  // namespace

std::optional<std::string> text_after(std::string_view text, std::string_view marker) {
  const size_t at = marker.empty() ? std::string_view::npos : text.rfind(marker);
  if (at == std::string_view::npos) return std::nullopt;
  return std::string(trim(text.substr(at + marker.size())));
}

std::optional<BoxedText> last_boxed(std::string_view text) {
  const std::vector<Candidate> all = boxes(text);
  if (all.empty()) return std::nullopt;
  return joined_tail(text, all);
}

std::optional<MathText> math_text(std::string_view text) {
  std::optional<BoxedText> box = last_boxed(text);
  const std::string_view stated = stated_answer(box ? text.substr(box->end) : text);
  if (!stated.empty()) {
    if (std::optional<MathText> found = last_formula_or_number(stated)) return found;
  }
  if (box) return MathText{std::move(box->text), true};
  return last_formula_or_number(text);
}

std::optional<std::string> answer_text(const RewardConfig& config, std::string_view completion) {
  return non_empty(place(config, completion));
}

std::string reference_text(const RewardConfig& config, std::string_view solution) {
  return non_empty(place(config, solution)).value_or(std::string(trim(solution)));
}

}  // namespace fulcrum
