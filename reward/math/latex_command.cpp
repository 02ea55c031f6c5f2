#include "reward/math/latex_command.h"

#include <algorithm>

namespace fulcrum {
namespace {

// A hostile text of commands that are never closed must not be walked to its end from each of them.
constexpr size_t kMaxArgument = 512;

void skip_blanks(std::string_view text, size_t& at) {
  while (at < text.size() && text[at] == ' ') ++at;
}

// What stands between `open` at `at` and the bracket that ends it; moves behind it.
std::optional<std::string_view> group(std::string_view text, size_t& at, char open, char close) {
  int depth = 0;
  for (size_t i = at; i < std::min(text.size(), at + kMaxArgument); ++i) {
    depth += text[i] == open ? 1 : text[i] == close ? -1 : 0;
    if (depth > 0) continue;
    const std::string_view inside = text.substr(at + 1, i - at - 1);
    at = i + 1;
    return inside;
  }
  return std::nullopt;
}

std::optional<std::string_view> argument(std::string_view text, size_t& at) {
  skip_blanks(text, at);
  if (at == text.size()) return std::nullopt;
  if (text[at] == '{') return group(text, at, '{', '}');
  const bool digit = text[at] >= '0' && text[at] <= '9';
  return digit ? std::optional(text.substr(at++, 1)) : std::nullopt;
}

}  // namespace

std::optional<LatexCommand> latex_command(std::string_view text) {
  LatexCommand out;
  for (const std::string_view name : {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac", "\\sqrt"}) {
    if (!text.starts_with(name)) continue;
    out.fraction = name != "\\sqrt";
    out.length = name.size();
  }
  if (out.length == 0) return std::nullopt;
  size_t at = out.length;
  if (!out.fraction && at < text.size() && text[at] == '[' && !group(text, at, '[', ']')) return std::nullopt;
  const auto top = argument(text, at);
  const auto bottom = out.fraction && top ? argument(text, at) : std::optional<std::string_view>("");
  if (!top || !bottom) return std::nullopt;
  out.top = *top;
  out.bottom = *bottom;
  out.length = at;
  return out;
}

}  // namespace fulcrum
