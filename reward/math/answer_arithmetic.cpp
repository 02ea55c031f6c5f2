#include "reward/math/answer_arithmetic.h"

namespace fulcrum {
namespace {

using Kind = MathAnswer::Kind;

std::optional<MathAnswer> matrix_product(const MathAnswer& a, const MathAnswer& b, Algebra& algebra) {
  const size_t inner = a.columns;
  if (inner == 0 || b.columns == 0 || b.items.size() != inner * b.columns) return std::nullopt;
  MathAnswer result{.kind = Kind::kMatrix, .columns = b.columns};
  for (size_t row = 0; row < a.items.size() / inner; ++row) {
    for (size_t column = 0; column < b.columns; ++column) {
      Polynomial cell;
      for (size_t k = 0; k < inner; ++k) {
        const Polynomial term =
            algebra.multiply(a.items[row * inner + k].expression, b.items[k * b.columns + column].expression);
        cell = algebra.add(std::move(cell), term);
      }
      result.items.push_back(expression(std::move(cell)));
    }
  }
  return result;
}

}  // namespace

std::optional<MathAnswer> scaled(MathAnswer a, int factor, Algebra& algebra) {
  if (a.kind == Kind::kMatrix) {
    for (MathAnswer& item : a.items) item.expression = algebra.scale(item.expression, factor);
    return a;
  }
  if (a.kind != Kind::kExpression) return std::nullopt;
  return expression(algebra.scale(std::move(a.expression), factor));
}

std::optional<MathAnswer> sum_of(MathAnswer a, const MathAnswer& b, int factor, Algebra& algebra) {
  if (a.kind != b.kind || a.columns != b.columns || a.items.size() != b.items.size()) return std::nullopt;
  if (a.kind == Kind::kExpression)
    return expression(algebra.add(std::move(a.expression), b.expression, factor));
  if (a.kind != Kind::kMatrix) return std::nullopt;
  for (size_t i = 0; i < a.items.size(); ++i) {
    a.items[i].expression = algebra.add(a.items[i].expression, b.items[i].expression, factor);
  }
  return a;
}

std::optional<MathAnswer> product_of(const MathAnswer& a, const MathAnswer& b, Algebra& algebra) {
  if (a.kind == Kind::kMatrix && b.kind == Kind::kMatrix) return matrix_product(a, b, algebra);
  const MathAnswer& scalar = a.kind == Kind::kMatrix ? b : a;
  const MathAnswer& other = a.kind == Kind::kMatrix ? a : b;
  if (scalar.kind != Kind::kExpression) return std::nullopt;
  if (other.kind == Kind::kExpression) return expression(algebra.multiply(a.expression, b.expression));
  if (other.kind != Kind::kMatrix) return std::nullopt;
  MathAnswer result = other;
  for (MathAnswer& item : result.items)
    item.expression = algebra.multiply(item.expression, scalar.expression);
  return result;
}

}  // namespace fulcrum
