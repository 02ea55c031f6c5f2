#include "reward/math/answer.h"

#include <algorithm>
#include <cmath>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxItems = 256;

using Kind = MathAnswer::Kind;

// Something that can be given a value: x, f(2), \frac{NO}{BO}, (x, y); not 7 and not a^2 + b.
bool is_nameable(const MathAnswer& a) {
  if (a.kind == Kind::kBracketed || a.kind == Kind::kList) {
    for (const MathAnswer& item : a.items) {
      if (!is_nameable(item)) return false;
    }
    return true;
  }
  if (a.kind != Kind::kExpression || a.expression.size() != 1) return false;
  const auto& [m, c] = *a.expression.begin();
  return !m.empty() && c == 1;
}

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

// low <= x <= high, x > low, x < high as an interval.
std::optional<MathAnswer> as_interval(const MathAnswer& a) {
  if (a.kind != Kind::kRelation || a.relations.size() > 2) return std::nullopt;
  const auto bound = [](const Polynomial& p) {
    return MathAnswer{.kind = Kind::kExpression, .expression = p};
  };
  MathAnswer low = bound(Algebra::symbol("\\infty")), high = low;
  low.expression.begin()->second = -1;
  char open = '(', close = ')';
  const bool flipped = a.relations[0][0] == '>';
  for (const std::string& relation : a.relations) {
    if ((relation[0] != '<' && relation[0] != '>') || (relation[0] == '>') != flipped) return std::nullopt;
  }
  const auto set = [&](bool is_low, const MathAnswer& value, const std::string& relation) {
    (is_low ? low : high) = value;
    if (relation.ends_with('=')) (is_low ? open : close) = is_low ? '[' : ']';
  };
  if (a.relations.size() == 2) {
    if (!is_nameable(a.items[1])) return std::nullopt;
    set(!flipped, a.items[0], a.relations[0]);
    set(flipped, a.items[2], a.relations[1]);
  } else if (is_nameable(a.items[0])) {
    set(flipped, a.items[1], a.relations[0]);
  } else if (is_nameable(a.items[1])) {
    set(!flipped, a.items[0], a.relations[0]);
  } else {
    return std::nullopt;
  }
  return MathAnswer{.kind = Kind::kBracketed, .items = {low, high}, .open = open, .close = close};
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
  bool same_expression(const Polynomial& a, const Polynomial& b) {
    if (algebra_.is_zero(algebra_.subtract(a, b))) return true;
    if (tolerance_ <= 0) return false;
    const std::optional<double> x = algebra_.approximate(a), y = algebra_.approximate(b);
    return x && y && std::fabs(*x - *y) <= tolerance_;
  }

  static bool gives_names(const MathAnswer& list) {
    for (const MathAnswer& item : list.items) {
      if (assigned_value(item) != nullptr) return true;
    }
    return false;
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
    if (value.kind != Kind::kBracketed) return false;
    const std::optional<MathAnswer> interval = as_interval(relation);
    return interval && same(*interval, value);
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
    const MathAnswer &name_a = a.items[0], &name_b = b.items[0];
    if (x != nullptr && y != nullptr && is_nameable(name_a) && is_nameable(name_b) && same(name_a, name_b)) {
      return same(*x, *y);
    }
    if ((x == nullptr) != (y == nullptr)) {  // x \in [-2, 7] beside -2 <= x <= 7
      const std::optional<MathAnswer> interval = as_interval(x == nullptr ? a : b);
      if (interval && same(*interval, x == nullptr ? *y : *x)) return true;
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

bool same_answer(const MathAnswer& reference, const MathAnswer& given, Algebra& algebra, double tolerance) {
  algebra.forget();
  return Comparison(algebra, tolerance).same(reference, given);
}

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
