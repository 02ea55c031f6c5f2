// `math`: answers in LaTeX or plain text, compared by meaning (reward/math/).
#include <algorithm>

#include "engine/core/text.h"
#include "reward/answer_text.h"
#include "reward/math/answer.h"
#include "reward/math/lexer.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

struct Side {
  std::string text;                   // as it stood
  std::optional<MathAnswer> meaning;  // none: the text can only be compared as text
  bool is_number = false;             // that and nothing else, outside a formula
};

class MathReward final : public Verifier {
 public:
  using Verifier::Verifier;

 private:
  Verdict judge(const RewardRequest& request, Budget& budget) const override {
    const Result<std::string> solution = solution_of(*request.columns);
    if (!solution.ok()) return unscored(VerdictKind::kBadReference, solution.status().message());
    Algebra algebra(budget);
    const std::optional<Side> want = read_reference(*solution, algebra);
    if (want && !want->meaning && algebra.no_value())
      return unscored(VerdictKind::kBadReference,
                      "the reference " + in_quotes(want->text, 60) + " has no value");
    if (!want)
      return unscored(VerdictKind::kBadReference, "cannot read the reference " + in_quotes(*solution, 60));
    const std::optional<Side> got = read_completion(request.completion, algebra);
    if (!got) return no_answer("no formula or number where 'extract' looks for it");
    const bool same = trim(request.completion) == trim(*solution) || same_text(*got, *want) ||
                      (want->meaning && got->meaning &&
                       same_answer(*want->meaning, *got->meaning, algebra, config().tolerance));
    return scored_match(same, got->text, want->text);
  }

  std::optional<Side> read_completion(std::string_view text, Algebra& algebra) const {
    if (config().extract == "auto") return read_anywhere(text, algebra, OpenBox::kIsNone);
    const std::optional<std::string> found = answer_text(config(), text);
    if (!found) return std::nullopt;
    return config().extract == "boxed" ? formula(*found, algebra) : unmarked(*found, algebra);
  }

  // The place that `extract` names, where the data uses it; else anywhere.
  std::optional<Side> read_reference(std::string_view text, Algebra& algebra) const {
    if (config().extract != "auto" && config().extract != "whole") {
      if (std::optional<Side> side = read_completion(text, algebra)) return side;
    }
    return read_anywhere(text, algebra, OpenBox::kHoldsTheRest);
  }

  // After the marker; a short text without markup (2x+1, 1 000, odd) is the answer itself; else it is looked
  // for.
  std::optional<Side> read_anywhere(std::string_view text, Algebra& algebra, OpenBox open_box) const {
    if (const std::optional<std::string> marked = text_after(text, config().marker))
      return unmarked(*marked, algebra);
    const std::string_view bare = trim(text);
    const bool is_short = !bare.empty() && bare.size() <= kMaxBare && !is_marked(bare);
    const bool one_word = is_short && bare.find(' ') == std::string_view::npos;
    if (one_word || (is_short && has_digit_or_operator(bare) && is_one_statement(bare))) {
      Side side = unmarked(bare, algebra);
      if (side.meaning || algebra.undefined())
        return side;  // 0^{-1} is understood: not a case of looking for -1
    }
    if (const std::optional<MathText> found = math_text(text, open_box)) {
      return found->marked ? formula(found->text, algebra) : unmarked(found->text, algebra);
    }
    return one_word ? std::optional(Side{std::string(bare), std::nullopt}) : std::nullopt;
  }

  static bool same_text(const Side& got, const Side& want) {
    if (got.is_number && want.is_number) return false;  // its value says more: 2 1/2 is not 21/2
    return std::max(got.text.size(), want.text.size()) <= kMaxMathText &&
           plain_form(got.text) == plain_form(want.text);
  }

  static Side formula(const std::string& text, Algebra& algebra) {
    return {.text = text, .meaning = read_math(text, algebra)};
  }

  // Outside formulas 2,74 is a number, not a list.
  static Side unmarked(std::string_view text, Algebra& algebra) {
    if (const std::optional<Number> number = parse_number(text)) {
      return {std::string(text), MathAnswer{.expression = Algebra::constant(number->value)}, true};
    }
    return formula(std::string(text), algebra);
  }

  static bool is_marked(std::string_view text) {
    for (const std::string_view mark : {"\\boxed", "\\(", "\\[", "\\fbox"}) {
      if (text.find(mark) != std::string_view::npos) return true;
    }
    const size_t dollar = text.find('$');
    return dollar != std::string_view::npos && text.find('$', dollar + 1) != std::string_view::npos;
  }

  // Not several lines of working, "2 + 3 = 5\nA: 5", of which the last holds the answer: a line of plain text
  // that ends in an operand does not go on with one that begins with an operand.
  static bool is_one_statement(std::string_view text) {
    if (text.find('\\') != std::string_view::npos) return true;
    constexpr std::string_view kGoesOn = ",;+-*/=<>([{&|^", kContinues = ",;+-*/=<>)]}&|^";
    for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
      const std::string_view before = trim(text.substr(0, at)), behind = trim(text.substr(at));
      if (kGoesOn.find(before.back()) == std::string_view::npos &&
          kContinues.find(behind.front()) == std::string_view::npos)
        return false;
    }
    return true;
  }

  static bool has_digit_or_operator(std::string_view text) {
    return text.find_first_of("0123456789+=^\\()<>/*") != std::string_view::npos;
  }

  static constexpr size_t kMaxBare = 256;
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_math(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<MathReward>(config));
}

}  // namespace fulcrum
