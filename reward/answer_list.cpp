#include "reward/answer_list.h"

#include <algorithm>
#include <optional>

#include "engine/core/text.h"
#include "reward/math/characters.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxBetween = 64;
constexpr size_t kMaxName = 24;

// The length of "y_1 = ", "f(x)=" or "\alpha_{12} =" at the front of `text`; 0: no name stands there.
size_t name_length(std::string_view text) {
  const auto peek = [&](size_t i) { return i < text.size() ? text[i] : '\0'; };
  const auto skip_blanks = [&](size_t i) {
    while (peek(i) == ' ') ++i;
    return i;
  };
  const auto group_end = [&](size_t i, char close) { return text.find(close, i) + 1; };  // 0: it never ends
  size_t at = peek(0) == '\\' ? 1 : 0;
  if (!is_letter(peek(at))) return 0;
  const bool command = at > 0;
  while (command && is_letter(peek(at))) ++at;
  if (!command) ++at;
  if (peek(at) == '_') {
    at = peek(at + 1) == '{' ? group_end(at, '}') : at + 2;
    if (at == 0) return 0;
  }
  if (peek(at) == '(' && (at = group_end(at, ')')) == 0) return 0;
  at = skip_blanks(at);
  return peek(at) == '=' ? skip_blanks(at + 1) : 0;
}

// The length of a sign at the front that only sets parts apart; 0: there is none.
size_t sign_length(std::string_view text, Parts parts) {
  if (std::string_view(" ,;\n\t$").find(text[0]) != std::string_view::npos) return 1;
  for (const std::string_view blank : {"\\qquad", "\\quad", "\\ "}) {
    if (text.starts_with(blank)) return blank.size();
  }
  if (parts == Parts::kFormulas) return 0;
  for (const std::string_view sign : {"\\,", "\\;", "\\\\", "\\(", "\\)", "\\[", "\\]"}) {
    if (text.starts_with(sign)) return sign.size();
  }
  return std::string_view("&+-*").find(text[0]) != std::string_view::npos ? 1 : 0;
}

bool is_remark(char c) { return is_letter(c) || is_decimal_digit(c) || c == ' ' || c == '(' || c == ')'; }

bool ends_with_connective(std::string_view words) {
  const std::string_view last = words.substr(words.find_last_of(' ') + 1);
  return last == "and" || last == "or";
}

// The length of a connective at the front: "and", "\text{ or }", for boxes also with a remark on what stands
// before: "\text{ cm and }", "for part (a) and"; 0: there is none.
size_t connective_length(std::string_view text, Parts parts) {
  if (constexpr std::string_view kText = "\\text{"; text.starts_with(kText)) {
    const size_t end = text.find('}');
    if (end == std::string_view::npos) return 0;
    const std::string_view words = trim(text.substr(kText.size(), end - kText.size()));
    const bool bare = words == "and" || words == "or";
    return bare || (parts == Parts::kBoxes && ends_with_connective(words)) ? end + 1 : 0;
  }
  if (parts == Parts::kBoxes && text.starts_with("for ")) {
    const auto words_end = std::find_if_not(text.begin(), text.end(), is_remark);
    const std::string_view words(text.begin(), words_end);
    for (const std::string_view word : {" and ", " or "}) {
      if (const size_t at = words.find(word); at != std::string_view::npos) return at + word.size();
    }
    return 0;
  }
  return text.starts_with("and") ? 3 : text.starts_with("or") ? 2 : 0;
}

// Whether only signs, at most one connective and perhaps the name of the second part stand between two parts
// of one answer: the name, "" without one; else no value.
std::optional<std::string_view> connecting(std::string_view between, Parts parts) {
  if (between.size() > kMaxBetween) return std::nullopt;
  int connectives = 0;
  while (!between.empty()) {
    if (parts == Parts::kBoxes && name_length(between) == between.size()) return between;
    size_t length = sign_length(between, parts);
    if (length == 0 && (length = connective_length(between, parts)) > 0) ++connectives;
    if (length == 0 || connectives > 1) return std::nullopt;
    between.remove_prefix(length);
  }
  return between;
}

// "x = " at the end of `before`, as a whole side of an equation; "" if it is no name.
std::string_view name_before(std::string_view before) {
  const size_t first = before.size() - std::min(before.size(), kMaxName);
  for (size_t at = before.size(); at-- > first;) {
    const std::string_view name = before.substr(at);
    if (name_length(name) != name.size() || (at > 0 && is_letter(before[at - 1]))) continue;
    const std::string_view ahead = trim(before.substr(first, at - first));
    const bool cut = ahead.empty() && first > 0;
    const bool alone = ahead.empty() || is_letter(ahead.back()) ||
                       std::string_view("$([,;:.").find(ahead.back()) != std::string_view::npos;
    if (alone && !cut) return name;
  }
  return {};
}

}  // namespace

std::string_view inner_of(std::string_view text, const Candidate& c) {
  return trim(text.substr(c.inner_begin, c.inner_end - c.inner_begin));
}

std::string joined_tail(std::string_view text, const std::vector<Candidate>& all, Parts parts) {
  const auto is_name = [](std::string_view name) { return !name.empty(); };
  std::vector<std::string_view> names;  // of the joined parts, the last one first
  size_t first = all.size() - 1;
  while (first > 0) {
    const size_t begin = all[first - 1].end;
    const auto name = connecting(text.substr(begin, all[first].begin - begin), parts);
    if (!name) break;
    names.push_back(*name);
    --first;
  }
  const bool named = std::any_of(names.begin(), names.end(), is_name);
  names.push_back(named ? name_before(text.substr(0, all[first].begin)) : std::string_view());
  // "2x = \boxed{6} and y = \boxed{1}": what has a name does not go with what has none.
  if (named && !std::all_of(names.begin(), names.end(), is_name)) first = all.size() - 1;
  std::string list;
  for (size_t i = first; i < all.size(); ++i) {
    if (i > first) list += ", ";
    if (first + 1 < all.size()) list += names[all.size() - 1 - i];
    list += inner_of(text, all[i]);
  }
  return list;
}

}  // namespace fulcrum
