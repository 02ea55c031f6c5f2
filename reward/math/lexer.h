// LaTeX and plain-text mathematics as tokens. What only shapes the page (\left, \,, colours, \text, units,
// degree and percent signs) is gone afterwards. Called by the parser; pure, thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/budget.h"

namespace fulcrum {

struct Token {
  enum Kind {
    kNumber,     // "1234.5": digits and at most one point
    kName,       // a variable: one letter, or \alpha with its backslash
    kFunction,   // "sin", "sqrt", "frac", "binom", ...
    kSymbol,     // ( ) [ ] { } + - * / ^ _ | ! : & \\ \{ \} cup cap pm mp over
    kRelation,   // = < <= > >= != ~ in
    kSeparator,  // , or ; ("and" and "or" are commas)
    kMatrix,     // \begin{pmatrix} and its kind; text "begin" or "end"
    kEnd,
  };
  Kind kind = kEnd;
  std::string text;
};

// No value: it is not mathematics (prose, unknown characters), too long, or the budget is spent.
std::optional<std::vector<Token>> lex_math(std::string_view text, Budget& budget);

inline constexpr size_t kMaxMathText = 4096;  // longer answers are not read as mathematics

}  // namespace fulcrum
