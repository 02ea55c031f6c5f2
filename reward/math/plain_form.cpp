// plain_form() of reward/math/answer.h.
#include <string>

#include "engine/core/text.h"
#include "reward/math/answer.h"

namespace fulcrum {
namespace {

void erase_all(std::string& text, std::string_view what, std::string_view by = "") {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (std::string_view(text).substr(i).starts_with(what)) {
      out += by;
      i += what.size();
    } else {
      out += text[i++];
    }
  }
  text = std::move(out);
}

// "\text{odd}" becomes "odd": what is opened by `opening` loses it and the brace that ends it.
void unwrap(std::string& text, std::string_view opening) {
  for (size_t at = text.find(opening); at != std::string::npos; at = text.find(opening, at)) {
    text.erase(at, opening.size());
    int depth = 1;
    size_t end = at;
    while (end < text.size() && (depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0) > 0) ++end;
    if (end < text.size()) text.erase(end, 1);
  }
}

// "x^{2}" becomes "x^2". Longer groups stay, or \frac{1}{23} would be \frac{12}{3}.
void bare_single_characters(std::string& text) {
  std::string out;
  for (const char c : text) {
    const size_t n = out.size();
    if (c == '}' && n >= 2 && out[n - 2] == '{' && out[n - 1] != '{' && out[n - 1] != '}') {
      out[n - 2] = out[n - 1];
      out.pop_back();
    } else {
      out += c;
    }
  }
  text = std::move(out);
}

}  // namespace

std::string plain_form(std::string_view text) {
  std::string out(trim(text));
  for (const std::string_view name : {"\\text{", "\\textbf{", "\\mathrm{", "\\textnormal{", "\\mbox{"}) {
    unwrap(out, name);
  }
  for (const std::string_view typography : {"\\left", "\\right", "\\!", "\\,", "\\;", "\\quad", "\\ ", " ",
                                            "\n", "\t", "$", "\\(", "\\)", "\\[", "\\]"}) {
    erase_all(out, typography);
  }
  erase_all(out, "dfrac", "frac");
  erase_all(out, "tfrac", "frac");
  bare_single_characters(out);
  while (!out.empty() && (out.back() == '.' || out.back() == ',')) out.pop_back();
  if (out.size() == 3 && out.front() == '(' && out.back() == ')') out = out.substr(1, 1);
  return out;
}

}  // namespace fulcrum
