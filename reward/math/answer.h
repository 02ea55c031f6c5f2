// A mathematical answer: what LaTeX or plain text means, and whether two answers are the same. Called by the
// math verifier. One judgement, one thread; all work is charged to the Algebra's budget.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/algebra.h"

namespace fulcrum {

struct MathAnswer {
  enum Kind {
    kExpression,  // `expression`
    kList,        // items without brackets (a, b or c): order does not matter
    kBracketed,   // ( ) [ ] or \{ \}: `open` and `close` say which; a tuple, an interval or a set
    kUnion,       // items joined by \cup
    kMatrix,      // items row by row, `columns` a row
    kRelation,    // items joined by `relations`
  };
  Kind kind = kExpression;
  Polynomial expression;
  std::vector<MathAnswer> items;
  char open = 0, close = 0;
  size_t columns = 0;
  std::vector<std::string> relations;
};

// No value: it cannot be read as mathematics, or is too large to compute, or the budget is spent.
std::optional<MathAnswer> read_math(std::string_view text, Algebra& algebra);

// Whether `given` answers what `reference` asks: constants may differ by `tolerance`, a reference `x = 5`
// accepts 5 and the other way round, -2 <= x <= 7 accepts [-2, 7], lists are compared in any order.
bool same_answer(const MathAnswer& reference, const MathAnswer& given, Algebra& algebra, double tolerance);

// The text without its typography: blanks, $, \left, \text{}, one spelling of \frac. Equal texts are equal
// answers, whatever they mean.
std::string plain_form(std::string_view text);

}  // namespace fulcrum
