// Inequalities as the set of numbers they allow. Called by the comparison of answers only.
#pragma once

#include <optional>

#include "reward/math/answer.h"

namespace fulcrum {

// Something that can be given a value: x, f(2), \frac{NO}{BO}, (x, y); not 7 and not a^2 + b.
bool is_nameable(const MathAnswer& a);

// low <= x <= high, x > low, x < high as an interval; 1 <= |x| <= 2 as [-2,-1] \cup [1,2]. No value: it is
// another relation.
std::optional<MathAnswer> solution_set(const MathAnswer& relation, Algebra& algebra);

}  // namespace fulcrum
