#include "reward/math/answer.h"

#include <algorithm>
#include <cmath>

#include "reward/math/solution_set.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxItems = 256;

using Kind = MathAnswer::Kind;

// What `x = ... = value` or `x \in set` says: the last item before a "~", if a name stands before it.
const MathAnswer* assigned_value(const MathAnswer& a) {
  if (a.kind != Kind::kRelation) return nullptr;
  size_t last = 0;
  for (size_t i = 0; i < a.relations.size(); ++i) {
    const std::string& relation = a.relations[i];
    if (relation == "~" && i > 0) break;
    if (relation != "=" && relation != "in" && relation != "~") return nullptr;
    last = i + 1;
  }
  for (size_t i = 0; i < last; ++i) {
    if (is_nameable(a.items[i])) return &a.items[last];
  }
  return nullptr;
}

class Comparison {
 public:
  Comparison(Algebra& algebra, double tolerance) : algebra_(algebra), tolerance_(tolerance) {}

  bool same(const MathAnswer& a, const MathAnswer& b) {
    if (!algebra_.budget().spend() || algebra_.undefined()) return false;
    if (a.kind == Kind::kRelation && b.kind == Kind::kRelation) return same_relations(a, b);
    if (a.kind == Kind::kRelation) return relation_is(a, b);
    if (b.kind == Kind::kRelation) return relation_is(b, a);
    if (a.kind == Kind::kExpression && b.kind == Kind::kExpression)
      return same_expression(a.expression, b.expression);
    if (a.kind == Kind::kMatrix && b.kind == Kind::kMatrix) return a.columns == b.columns && in_order(a, b);
    if (a.kind == Kind::kUnion && b.kind == Kind::kUnion) return any_order(a, b);
    if (a.kind == Kind::kBracketed && b.kind == Kind::kBracketed) {
      if (a.open != b.open || a.close != b.close) return false;
      return a.open == '{' ? any_order(a, b) : in_order(a, b);
    }
    if (a.kind == Kind::kList && b.kind == Kind::kList) {
      return gives_names(a) == gives_names(b) ? any_order(a, b) : in_order(a, b);
    }
    return list_is(a, b) || list_is(b, a);
  }

 private:
  static const Rational* number_of(const Polynomial& p) {
    return p.size() == 1 && p.begin()->first.empty() ? &p.begin()->second : nullptr;
  }

  bool same_expression(const Polynomial& a, const Polynomial& b) {
    if (const Rational* x = number_of(a), *y = number_of(b); x != nullptr && y != nullptr)
      return *x == *y || (tolerance_ > 0 && std::fabs(x->get_d() - y->get_d()) <= tolerance_);
    if (algebra_.is_zero(algebra_.subtract(a, b))) return true;
    if (tolerance_ <= 0) return false;
    const std::optional<double> x = algebra_.approximate(a), y = algebra_.approximate(b);
    return x && y && std::fabs(*x - *y) <= tolerance_;
  }

  // Whether the items are values of several unknowns. x = 1 or x = 2 are the values of one, as 1, 2 are.
  bool gives_names(const MathAnswer& list) {
    const auto has_name = [](const MathAnswer& item) { return assigned_value(item) != nullptr; };
    const bool all = std::all_of(list.items.begin(), list.items.end(), has_name);
    if (!all) return std::any_of(list.items.begin(), list.items.end(), has_name);
    return !std::all_of(list.items.begin(), list.items.end(),
                        [&](const MathAnswer& item) { return same_name(item, list.items[0]); });
  }

  // Whether both relations say what the same name is, or the same function everywhere: P(n) = 1, P(x) = 1.
  bool same_name(const MathAnswer& a, const MathAnswer& b) {
    const MathAnswer &x = a.items[0], &y = b.items[0];
    if (!is_nameable(x) || !is_nameable(y)) return false;
    return same(x, y) || (is_constant_function(a) && is_constant_function(b) &&
                          algebra_.as_application(x.expression)->function ==
                              algebra_.as_application(y.expression)->function);
  }

  bool is_variable(const Polynomial& p) const {
    if (p.size() != 1 || p.begin()->second != 1 || p.begin()->first.size() != 1) return false;
    const auto& [atom, exponent] = *p.begin()->first.begin();
    return exponent == 1 && atom != "i" && !algebra_.as_application(p) && !algebra_.approximate(p);
  }

  bool is_constant_function(const MathAnswer& a) {
    const std::optional<Algebra::Application> left = algebra_.as_application(a.items[0].expression);
    const MathAnswer* value = assigned_value(a);
    return left && is_variable(left->argument) && value != nullptr && value->kind == Kind::kExpression &&
           algebra_.approximate(value->expression);
  }

  // A list without brackets beside a bracketed one: a, b may be the pair (a, b) or the set {a, b}.
  bool list_is(const MathAnswer& list, const MathAnswer& bracketed) {
    if (list.kind != Kind::kList || bracketed.kind != Kind::kBracketed) return false;
    if (bracketed.open == '{') return any_order(list, bracketed);
    return bracketed.open == '(' && bracketed.close == ')' && in_order(list, bracketed);
  }

  bool in_order(const MathAnswer& a, const MathAnswer& b) {
    if (a.items.size() != b.items.size()) return false;
    for (size_t i = 0; i < a.items.size(); ++i) {
      if (!same(a.items[i], b.items[i])) return false;
    }
    return true;
  }

  // As sets: each item of one has its equal in the other.
  bool any_order(const MathAnswer& a, const MathAnswer& b) {
    if (a.items.size() > kMaxItems || b.items.size() > kMaxItems) return false;
    const auto inside = [&](const MathAnswer& small, const MathAnswer& large, bool swapped) {
      return std::all_of(small.items.begin(), small.items.end(), [&](const MathAnswer& item) {
        return std::any_of(large.items.begin(), large.items.end(), [&](const MathAnswer& other) {
          return swapped ? same(other, item) : same(item, other);
        });
      });
    };
    return inside(a, b, false) && inside(b, a, true);
  }

  bool relation_is(const MathAnswer& relation, const MathAnswer& value) {
    if (const MathAnswer* assigned = assigned_value(relation)) return same(*assigned, value);
    if (value.kind != Kind::kBracketed && value.kind != Kind::kUnion) return false;
    const std::optional<MathAnswer> set = solution_set(relation, algebra_);
    return set && same(*set, value);
  }

  // p = factor q for some rational factor (positive, if asked): the same equation or inequality.
  bool proportional(const Polynomial& p, const Polynomial& q, bool positive) {
    if (p.empty() || q.empty()) return p.empty() && q.empty();
    const auto found = q.find(p.begin()->first);
    if (found == q.end()) return false;
    const Rational factor = p.begin()->second / found->second;
    if (positive && factor < 0) return false;
    return algebra_.is_zero(algebra_.add(p, q, -factor));
  }

  // One link "a < b" of a chain as "left relation right" with only < and <=.
  struct Link {
    const MathAnswer* left;
    const MathAnswer* right;
    std::string relation;
  };
  static std::vector<Link> links_of(const MathAnswer& chain) {
    std::vector<Link> links;
    for (size_t i = 0; i < chain.relations.size(); ++i) {
      Link link{&chain.items[i], &chain.items[i + 1], chain.relations[i]};
      if (link.relation[0] == '>') {
        std::swap(link.left, link.right);
        link.relation[0] = '<';
      }
      links.push_back(std::move(link));
    }
    return links;
  }

  bool same_link(const Link& a, const Link& b) {
    if (a.relation != b.relation) return false;
    const auto is_expression = [](const Link& l) {
      return l.left->kind == Kind::kExpression && l.right->kind == Kind::kExpression;
    };
    if (!is_expression(a) || !is_expression(b)) return same(*a.left, *b.left) && same(*a.right, *b.right);
    Polynomial p = algebra_.subtract(a.left->expression, a.right->expression);
    Polynomial q = algebra_.subtract(b.left->expression, b.right->expression);
    if (a.relation[0] == '<') return proportional(p, q, true);
    return proportional(algebra_.numerator(std::move(p)), algebra_.numerator(std::move(q)), false) ||
           (same(*a.left, *b.left) && same(*a.right, *b.right));
  }

  bool same_relations(const MathAnswer& a, const MathAnswer& b) {
    const MathAnswer *x = assigned_value(a), *y = assigned_value(b);
    if (x != nullptr && y != nullptr && same_name(a, b)) return same(*x, *y);
    if ((x == nullptr) != (y == nullptr)) {  // x \in [-2, 7] beside -2 <= x <= 7
      const std::optional<MathAnswer> set = solution_set(x == nullptr ? a : b, algebra_);
      if (set && same(*set, x == nullptr ? *y : *x)) return true;
    }
    const std::vector<Link> p = links_of(a), q = links_of(b);
    if (p.size() != q.size() || p.size() > kMaxItems) return false;
    std::vector<bool> used(q.size());
    for (const Link& link : p) {
      size_t i = 0;
      while (i < q.size() && (used[i] || !same_link(link, q[i]))) ++i;
      if (i == q.size()) return false;
      used[i] = true;
    }
    return true;
  }

  Algebra& algebra_;
  double tolerance_;
};

}  // namespace

bool same_answer(const MathAnswer& reference, const MathAnswer& given, Algebra& algebra, double tolerance) {
  algebra.forget();
  return Comparison(algebra, tolerance).same(reference, given);
}

}  // namespace fulcrum
