// From tokens to a MathAnswer, by recursive descent: list > relation > union > ratio > quotient >
// sum > product > factor. There is no syntax tree; expressions are computed in normal form as they are read.
#include <algorithm>

#include "reward/math/answer.h"
#include "reward/math/answer_arithmetic.h"
#include "reward/math/lexer.h"

namespace fulcrum {
namespace {

constexpr int kMaxDepth = 40;

class Parser {
 public:
  Parser(std::vector<Token> tokens, Algebra& algebra) : tokens_(std::move(tokens)), algebra_(algebra) {}

  std::optional<MathAnswer> run() {
    MathAnswer answer = list();
    if (!failed_ && now().kind != Token::kEnd) fail();
    if (failed_) algebra_.forget();  // what was computed behind a broken place has no meaning: 2/=
    if (failed_ || algebra_.undefined() || algebra_.budget().exhausted()) return std::nullopt;
    return answer;
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(size_t n) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  bool is(Token::Kind kind, std::string_view text) const { return now().kind == kind && now().text == text; }
  bool is_symbol(std::string_view text) const { return is(Token::kSymbol, text); }
  bool take(std::string_view symbol) {
    if (!is_symbol(symbol)) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view symbol) {
    if (!take(symbol)) fail();
  }
  MathAnswer fail() {
    failed_ = true;
    at_ = tokens_.size() - 1;  // every loop ends at the end token
    return {};
  }
  Polynomial as_expression(const MathAnswer& a) {
    if (a.kind != MathAnswer::kExpression) fail();
    return a.expression;
  }

  MathAnswer value_of(std::optional<MathAnswer> computed) { return computed ? *std::move(computed) : fail(); }
  MathAnswer signed_value(MathAnswer a, bool negative) {
    return negative ? value_of(scaled(std::move(a), -1, algebra_)) : a;
  }
  MathAnswer multiplied(const MathAnswer& a, const MathAnswer& b) {
    return value_of(product_of(a, b, algebra_));
  }

  // items ((, | ;) items)*: one item is itself. "p=5,q=2; p=7,q=2" is a list of lists.
  MathAnswer list() {
    std::vector<std::vector<MathAnswer>> groups(1);
    for (;;) {
      while (now().kind == Token::kSeparator) {
        if (now().text == ";" && !groups.back().empty()) groups.emplace_back();
        ++at_;
      }
      if (now().kind == Token::kEnd || is_symbol("}")) break;
      append(groups.back());
      if (failed_) return {};
      if (now().kind != Token::kSeparator) break;
    }
    if (groups.back().empty()) groups.pop_back();
    MathAnswer all{.kind = MathAnswer::kList};
    for (std::vector<MathAnswer>& group : groups) {
      MathAnswer one{.kind = MathAnswer::kList, .items = std::move(group)};
      all.items.push_back(one.items.size() == 1 ? MathAnswer(one.items[0]) : std::move(one));
    }
    if (all.items.empty()) return fail();
    return all.items.size() == 1 ? MathAnswer(all.items[0]) : all;
  }

  // One item; where it holds a plus-minus sign, both readings.
  void append(std::vector<MathAnswer>& items) {
    const size_t begin = at_;
    saw_plus_minus_ = false;
    items.push_back(relation());
    if (!saw_plus_minus_ || failed_) return;
    at_ = begin;
    minus_reading_ = true;
    items.push_back(relation());
    minus_reading_ = false;
  }

  MathAnswer relation() {
    relation_begin_ = at_;
    MathAnswer first = set_union();
    if (now().kind != Token::kRelation) return first;
    MathAnswer chain{.kind = MathAnswer::kRelation};
    chain.items.push_back(std::move(first));
    while (now().kind == Token::kRelation && !failed_) {
      chain.relations.push_back(tokens_[at_++].text);
      chain.items.push_back(set_union());
    }
    return chain;
  }

  MathAnswer set_union() {
    MathAnswer first = ratio();
    if (!is_symbol("cup")) return first;
    MathAnswer all{.kind = MathAnswer::kUnion};
    all.items.push_back(std::move(first));
    while (take("cup") && !failed_) all.items.push_back(ratio());
    return all;
  }

  MathAnswer ratio() {
    MathAnswer first = quotient();
    if (!take(":")) return first;
    const Polynomial second = as_expression(quotient());
    if (second.empty())
      return algebra_.make_undefined(), first;  // 12:00 is a time: it can be compared as text
    return expression(algebra_.divide(as_expression(first), second));
  }

  // TeX's {a + b \over c + d}: all of the group before it over all behind it.
  MathAnswer quotient() {
    MathAnswer top = sum();
    if (!take("over")) return top;
    const Polynomial bottom = as_expression(sum());
    return failed_ ? MathAnswer{} : expression(algebra_.divide(as_expression(top), bottom));
  }

  bool sign(bool& negative) {
    if (take("+")) return true;
    if (take("-")) return negative = !negative, true;
    if (is_symbol("pm") || is_symbol("mp")) {
      saw_plus_minus_ = true;
      if ((tokens_[at_++].text == "mp") != minus_reading_) negative = !negative;
      return true;
    }
    return false;
  }

  MathAnswer sum() {
    bool negative = false;
    while (sign(negative)) {
    }
    MathAnswer total = signed_value(product(), negative);
    while (!failed_) {
      negative = false;
      if (!sign(negative)) break;
      while (sign(negative)) {
      }
      total = value_of(sum_of(std::move(total), product(), negative ? -1 : 1, algebra_));
    }
    return total;
  }

  bool starts_factor() const {
    switch (now().kind) {
      case Token::kName:
      case Token::kFunction:
        return true;
      case Token::kNumber:
        return at_ > 0 && tokens_[at_ - 1].kind != Token::kNumber;
      case Token::kMatrix:
        return now().text == "begin";
      case Token::kSymbol:
        return now().text == "(" || now().text == "{" || (now().text == "|" && bars_ == 0);
      default:
        return false;
    }
  }

  MathAnswer product() {
    MathAnswer total = factor();
    while (!failed_ && algebra_.budget().spend()) {
      if (take("*")) {
        total = multiplied(total, sign_and_factor());
      } else if (take("/")) {
        const Polynomial divisor = as_expression(sign_and_factor());
        total = expression(algebra_.divide(as_expression(total), divisor));
      } else if (starts_factor()) {
        total = multiplied(total, factor());
      } else {
        break;
      }
    }
    return total;
  }

  MathAnswer sign_and_factor() {
    bool negative = false;
    while (sign(negative)) {
    }
    return signed_value(factor(), negative);
  }

  MathAnswer factor() {
    if (++depth_ > kMaxDepth) fail();
    MathAnswer value = failed_ ? MathAnswer{} : base();
    for (bool more = true; more && !failed_;) {
      more = false;
      if (take("!")) {
        value = expression(algebra_.factorial(as_expression(value)));
        more = true;
      } else if (take("^")) {
        if (take("{") && take("}")) continue;
        const Polynomial exponent = tokens_[at_ - 1].text == "{" ? closed_group() : script();
        value = expression(algebra_.power(as_expression(value), exponent));
        more = true;
      }
    }
    --depth_;
    return value;
  }

  Polynomial closed_group() {
    Polynomial inside = as_expression(quotient());
    expect("}");
    return inside;
  }

  // What follows ^ or stands as an argument of \frac without braces: a group, a sign and a number, one
  // letter.
  Polynomial script() {
    if (take("{")) return closed_group();
    bool negative = false;
    if (!sign(negative)) return as_expression(factor_base());
    return algebra_.scale(as_expression(factor_base()), negative ? -1 : 1);
  }

  MathAnswer factor_base() {
    if (++depth_ > kMaxDepth) fail();
    MathAnswer value = failed_ ? MathAnswer{} : base();
    --depth_;
    return value;
  }

  MathAnswer base() {
    const Token token = now();
    switch (token.kind) {
      case Token::kNumber:
        ++at_;
        return number(token.text);
      case Token::kName:
        ++at_;
        return name(token.text);
      case Token::kFunction:
        ++at_;
        return function(token.text);
      case Token::kMatrix:
        return token.text == "begin" ? matrix() : fail();
      case Token::kSymbol:
        break;
      default:
        return fail();
    }
    if (token.text == "(" || token.text == "[" || token.text == "\\{") return bracketed();
    if (take("{")) {
      MathAnswer inside = list();
      expect("}");
      return inside;
    }
    if (take("|")) {
      ++bars_;
      Polynomial inside = as_expression(quotient());
      --bars_;
      expect("|");
      return expression(algebra_.apply("abs", inside));
    }
    return fail();
  }

  MathAnswer number(const std::string& digits) {
    if (take("_")) return expression(Algebra::symbol("#" + digits + "_" + subscript()));  // 204_5: a base
    const std::optional<Number> value = parse_number(digits);
    if (!value) return fail();
    // 2\frac{1}{2} is a mixed number, 2\frac{x}{2} a product.
    if (is(Token::kFunction, "frac") && digits.find('.') == std::string::npos) {
      const size_t back = at_++;
      const Polynomial fraction = argument_fraction();
      const std::optional<Rational> part = Algebra::as_rational(fraction);
      if (part && *part > 0 && *part < 1 && !failed_)
        return expression(Algebra::constant(value->value + *part));
      if (!failed_) at_ = back;
    }
    return expression(Algebra::constant(value->value));
  }

  // A subscript belongs to the name: its tokens, joined.
  std::string subscript() {
    std::string text;
    int depth = 0;
    do {
      if (now().kind == Token::kEnd || !algebra_.budget().spend()) return fail(), text;
      if (is_symbol("{"))
        ++depth;
      else if (is_symbol("}"))
        --depth;
      else
        text += now().text;
      ++at_;
    } while (depth > 0);
    return text;
  }

  // P(x) = ... tells what the function P is; elsewhere P(x) is a product.
  bool is_definition() const {
    return at_ == relation_begin_ + 1 && is_symbol("(") && ahead(1).kind == Token::kName &&
           ahead(2).text == ")" && ahead(3).kind == Token::kRelation && ahead(3).text == "=";
  }

  MathAnswer name(std::string text) {
    const bool summation = text == "\\sum" || text == "\\prod" || text == "\\int";
    if (take("_")) text += "_" + subscript();
    if (summation && take("^")) text += "^" + subscript();
    const bool is_function =
        ((text[0] == 'f' || text[0] == 'g' || text[0] == 'h') && is_symbol("(")) || is_definition();
    if (!is_function) return expression(Algebra::symbol(text));
    const MathAnswer inside = bracketed();
    std::string arguments;
    if (inside.kind == MathAnswer::kExpression) return expression(algebra_.apply(text, inside.expression));
    for (const MathAnswer& item : inside.items) arguments += algebra_.key(as_expression(item)) + ",";
    return expression(Algebra::symbol(text + "[" + arguments + "]"));
  }

  Polynomial argument_fraction() {
    const Polynomial top = fraction_part();
    const Polynomial bottom = fraction_part();
    return failed_ ? Polynomial{} : algebra_.divide(top, bottom);
  }

  // \frac12 and \frac1{72}: without braces an argument is one character.
  Polynomial fraction_part() {
    if (now().kind == Token::kNumber && now().text.size() > 1) {
      std::string& digits = tokens_[at_].text;
      const Polynomial first = Algebra::constant(digits[0] - '0');
      if (digits[0] == '.') return fail(), first;
      digits.erase(0, 1);
      return first;
    }
    return script();
  }

  MathAnswer function(const std::string& text) {
    if (text == "frac") return expression(argument_fraction());
    if (text == "binom") {
      const Polynomial n = fraction_part(), k = fraction_part();
      const Polynomial below =
          algebra_.multiply(algebra_.factorial(k), algebra_.factorial(algebra_.subtract(n, k)));
      return expression(algebra_.divide(algebra_.factorial(n), below));
    }
    if (text == "sqrt") return square_root();
    Polynomial exponent = Algebra::constant(1), log_base;
    bool has_base = false;
    if (take("_")) has_base = true, log_base = script();
    if (take("^")) exponent = script();
    const Polynomial inside = function_argument();
    if (failed_) return {};
    if (text == "log" && has_base)
      return expression(algebra_.divide(algebra_.apply("ln", inside), algebra_.apply("ln", log_base)));
    if (Algebra::as_rational(exponent) == Rational(-1))
      return expression(algebra_.apply("arc" + text, inside));
    return expression(algebra_.power(algebra_.apply(text, inside), exponent));
  }

  MathAnswer square_root() {
    Polynomial degree = Algebra::constant(2);
    if (take("[")) {
      degree = as_expression(sum());
      expect("]");
    }
    const Polynomial inside = is_symbol("(") ? as_expression(bracketed()) : fraction_part_or_number();
    return failed_ ? MathAnswer{} : expression(algebra_.root(inside, degree));
  }

  Polynomial fraction_part_or_number() {
    return now().kind == Token::kNumber ? as_expression(factor_base()) : script();
  }

  // \sin(x), \sin{x}, \sin 2x.
  Polynomial function_argument() {
    if (is_symbol("(") || is_symbol("{") || is_symbol("|") || now().kind == Token::kFunction) {
      return as_expression(factor_base());
    }
    MathAnswer total = factor();
    while (!failed_ && (now().kind == Token::kName || (now().kind == Token::kNumber && starts_factor()))) {
      total = multiplied(total, factor());
    }
    return as_expression(total);
  }

  MathAnswer bracketed() {
    MathAnswer value{.kind = MathAnswer::kBracketed};
    const std::string open = tokens_[at_++].text;
    value.open = open.back();
    while (!failed_) {
      if (is_symbol(")") || is_symbol("]") || is_symbol("\\}")) break;
      append(value.items);
      if (now().kind == Token::kSeparator)
        ++at_;
      else
        break;
    }
    const std::string close = now().kind == Token::kSymbol ? now().text : "";
    if (close != ")" && close != "]" && close != "\\}") return fail();
    if ((open == "\\{") != (close == "\\}")) return fail();
    ++at_;
    value.close = close.back();
    const bool matching = (open == "(" && close == ")") || (open == "[" && close == "]");
    if (matching && value.items.size() == 1) return MathAnswer(value.items[0]);
    return value;
  }

  MathAnswer matrix() {
    MathAnswer value{.kind = MathAnswer::kMatrix};
    ++at_;
    size_t in_row = 0;
    while (!failed_ && !is(Token::kMatrix, "end")) {
      value.items.push_back(expression(as_expression(quotient())));
      ++in_row;
      if (take("&")) continue;
      const bool row_ends = take("\\\\");
      if (!row_ends && !is(Token::kMatrix, "end")) return fail();
      if (value.columns != 0 && value.columns != in_row) return fail();
      value.columns = in_row;
      in_row = 0;
    }
    if (failed_ || value.columns == 0) return fail();
    ++at_;
    return value;
  }

  std::vector<Token> tokens_;
  Algebra& algebra_;
  size_t at_ = 0;
  size_t relation_begin_ = 0;
  int depth_ = 0;
  int bars_ = 0;  // absolute values that are open
  bool saw_plus_minus_ = false;
  bool minus_reading_ = false;
  bool failed_ = false;
};

}  // namespace

std::optional<MathAnswer> read_math(std::string_view text, Algebra& algebra) {
  algebra.forget();
  std::optional<std::vector<Token>> tokens = lex_math(text, algebra.budget());
  if (!tokens) return std::nullopt;
  return Parser(*std::move(tokens), algebra).run();
}

}  // namespace fulcrum
