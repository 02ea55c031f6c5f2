#include "reward/math/solution_set.h"

#include <algorithm>
#include <utility>

#include "reward/math/answer_arithmetic.h"

namespace fulcrum {
namespace {

using Kind = MathAnswer::Kind;

MathAnswer infinity(int sign) {
  return expression(Polynomial{{Algebra::symbol("\\infty").begin()->first, sign}});
}

bool is_infinite(const MathAnswer& a) {
  return a.kind == Kind::kExpression && a.expression.size() == 1 &&
         a.expression.begin()->first == Algebra::symbol("\\infty").begin()->first;
}

MathAnswer interval(char open, MathAnswer low, MathAnswer high, char close) {
  return {.kind = Kind::kBracketed, .items = {std::move(low), std::move(high)}, .open = open, .close = close};
}

char facing(char bracket) { return bracket == '(' ? ')' : bracket == ')' ? '(' : bracket == '[' ? ']' : '['; }

// What x may be where |x| lies in `size`.
std::optional<MathAnswer> both_sides(const MathAnswer& size, Algebra& algebra) {
  const MathAnswer &low = size.items[0], &high = size.items[1];
  const std::optional<MathAnswer> below = scaled(high, -1, algebra);
  if (!below) return std::nullopt;
  const bool everything_below = is_infinite(low) || (low.expression.empty() && size.open == '[');
  if (everything_below) return interval(facing(size.close), *below, high, size.close);
  const std::optional<double> least = algebra.approximate(low.expression);
  const std::optional<MathAnswer> above = scaled(low, -1, algebra);
  if (!least || *least < 0 || !above) return std::nullopt;
  return MathAnswer{.kind = Kind::kUnion,
                    .items = {interval(facing(size.close), *below, *above, facing(size.open)), size}};
}

}  // namespace

bool is_nameable(const MathAnswer& a) {
  if (a.kind == Kind::kBracketed || a.kind == Kind::kList) {
    return std::all_of(a.items.begin(), a.items.end(), is_nameable);
  }
  if (a.kind != Kind::kExpression || a.expression.size() != 1) return false;
  const auto& [m, c] = *a.expression.begin();
  return !m.empty() && c == 1;
}

std::optional<MathAnswer> solution_set(const MathAnswer& a, Algebra& algebra) {
  if (a.kind != Kind::kRelation || a.relations.size() > 2) return std::nullopt;
  const bool flipped = a.relations[0][0] == '>';
  for (const std::string& relation : a.relations) {
    if ((relation[0] != '<' && relation[0] != '>') || (relation[0] == '>') != flipped) return std::nullopt;
  }
  MathAnswer range = interval('(', infinity(-1), infinity(1), ')');
  const auto set = [&](bool is_low, const MathAnswer& value, const std::string& relation) {
    range.items[is_low ? 0 : 1] = value;
    if (relation.ends_with('=')) (is_low ? range.open : range.close) = is_low ? '[' : ']';
  };
  const MathAnswer* name = &a.items[1];
  if (a.relations.size() == 2 && is_nameable(*name)) {
    set(!flipped, a.items[0], a.relations[0]);
    set(flipped, a.items[2], a.relations[1]);
  } else if (a.relations.size() == 1 && is_nameable(a.items[0])) {
    name = &a.items[0];
    set(flipped, a.items[1], a.relations[0]);
  } else if (a.relations.size() == 1 && is_nameable(*name)) {
    set(!flipped, a.items[0], a.relations[0]);
  } else {
    return std::nullopt;
  }
  const std::optional<Algebra::Application> applied = algebra.as_application(name->expression);
  if (!applied || applied->function != "abs") return range;
  return is_nameable(expression(applied->argument)) ? both_sides(range, algebra) : std::nullopt;
}

}  // namespace fulcrum
