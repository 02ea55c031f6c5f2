// Sums and products of answers: expressions, matrices and scalars with matrices. Called by the parser only.
// No value: the two do not fit together (shapes, or a set in a sum).
#pragma once

#include <optional>

#include "reward/math/answer.h"

namespace fulcrum {

inline MathAnswer expression(Polynomial p) {
  return {.kind = MathAnswer::kExpression, .expression = std::move(p)};
}

std::optional<MathAnswer> scaled(MathAnswer a, int factor, Algebra& algebra);
std::optional<MathAnswer> sum_of(MathAnswer a, const MathAnswer& b, int factor,
                                 Algebra& algebra);  // a + factor b
std::optional<MathAnswer> product_of(const MathAnswer& a, const MathAnswer& b, Algebra& algebra);

}  // namespace fulcrum
