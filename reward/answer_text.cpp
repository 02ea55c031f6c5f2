#include "reward/answer_text.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "reward/answer_list.h"
#include "reward/math/characters.h"
#include "reward/math/number.h"

namespace fulcrum {
namespace {

std::vector<Candidate> boxes(std::string_view text, OpenBox open_box) {
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
    const bool doubled = begin > 0 && text[begin - 1] == '\\';  // an escaped text: \\boxed
    if (doubled) --begin;
    if (depth > 0 && open_box == OpenBox::kHoldsTheRest)
      found.push_back({begin, text.size(), inner, text.size()});
    if (depth > 0) return found;
    found.push_back({begin, end, inner, end - 1});
    begin = end;
  }
  return found;
}

// Walks over the dollars and backslashes of a text.
class Marks {
 public:
  explicit Marks(std::string_view text) : text_(text), dollar_(text.find('$')), slash_(text.find('\\')) {}

  // The first at or behind `from`, which never goes back.
  size_t next(size_t from) {
    if (dollar_ < from) dollar_ = text_.find('$', from);
    if (slash_ < from) slash_ = text_.find('\\', from);
    return std::min(dollar_, slash_);
  }

 private:
  std::string_view text_;
  size_t dollar_, slash_;
};

// $..$, $$..$$, \(..\), \[..\] from left to right, none inside another.
std::vector<Candidate> formulas(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kDelimiters{
      {{"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}}};
  std::array<bool, 4> never_closed{};  // a search that failed once fails for ever: the whole stays linear
  std::vector<Candidate> found;
  Marks marks(text);
  for (size_t i = marks.next(0); i != std::string_view::npos; i = marks.next(i)) {
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
  return MathText{joined_tail(text, all, Parts::kFormulas), true};
}

// The sentence after the last "answer is" or "answer:".
std::string_view stated_answer(std::string_view text) {
  constexpr std::string_view kAnswer = "answer";
  constexpr size_t kLetter = 3;  // of it, the one that texts hold least often
  size_t begin = 0;
  for (size_t at = text.size(); begin == 0 && at-- > kLetter;) {
    if ((text[at] | 0x20) != kAnswer[kLetter] || !starts_with_icase(text.substr(at - kLetter), kAnswer))
      continue;
    const size_t behind = at - kLetter + kAnswer.size();
    for (const std::string_view said : {" is", ":"}) {
      if (starts_with_icase(text.substr(behind), said)) begin = behind + said.size();
    }
  }
  if (begin == 0) return {};
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
  if (marker.empty()) return std::nullopt;
  size_t behind = std::string_view::npos;
  for (size_t at = text.find(marker); at != std::string_view::npos; at = text.find(marker, at + 1))
    behind = at + marker.size();
  if (behind == std::string_view::npos) return std::nullopt;
  return std::string(trim(text.substr(behind)));
}

std::optional<BoxedText> last_boxed(std::string_view text, OpenBox open_box) {
  const std::vector<Candidate> all = boxes(text, open_box);
  if (all.empty()) return std::nullopt;
  return BoxedText{joined_tail(text, all, Parts::kBoxes), all.back().end};
}

std::optional<MathText> math_text(std::string_view text, OpenBox open_box) {
  std::optional<BoxedText> box = last_boxed(text, open_box);
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
