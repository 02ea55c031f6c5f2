// `numeric`: both answers as exact rationals. GSM8K's "#### 42" works by the default marker.
#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>

#include "engine/core/text.h"
#include "reward/answer_text.h"
#include "reward/math/number.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

// The text as a number, else the last number inside it ("42 apples").
std::optional<Number> number_of(std::string_view text) {
  if (std::optional<Number> whole = parse_number(text)) return whole;
  const std::string_view last = last_number(text);
  return last.empty() ? std::nullopt : parse_number(last);
}

// Whether a text has words of its own, as a worked solution has: then its last number is what is meant.
bool has_words(std::string_view text) {
  size_t letters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool letter = std::isalpha(static_cast<unsigned char>(text[i])) != 0;
    if (letter && letters == 0 && i > 0 && text[i - 1] == '\\') {  // a command
      while (i + 1 < text.size() && std::isalpha(static_cast<unsigned char>(text[i + 1]))) ++i;
      continue;
    }
    letters = letter ? letters + 1 : 0;
    if (letters > 1) return true;
  }
  return false;
}

// Whether a reference that is no number is something to be worked out first ("2^3", "5-3", "1 \\over 2"): its
// last number would be a wrong answer that passes for the right one. A unit may follow a number ("18\\text{
// cm}").
bool is_expression(std::string_view text) {
  static constexpr std::string_view kHarmless[] = {"text", "mathrm", "mbox", "textbf", "circ", "degree"};
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = trim(text.substr(i + 1)), before = trim(text.substr(0, i));
    if (text[i] == '^') return true;
    if (text[i] == '\\' && !rest.empty() && std::isalpha(static_cast<unsigned char>(rest.front()))) {
      const bool harmless = std::any_of(std::begin(kHarmless), std::end(kHarmless),
                                        [&](std::string_view name) { return rest.starts_with(name); });
      if (!harmless) return true;
    }
    const bool between = !before.empty() && digit(before.back()) && !rest.empty() && digit(rest.front());
    if (between && std::string_view("+-*/").find(text[i]) != std::string_view::npos) return true;
  }
  return false;
}

// 45% beside 45 or 0.45: where only one side has a percent sign, either reading counts.
bool same_number(const Number& a, const Number& b, const Rational& tolerance) {
  const auto close = [&](const Rational& x, const Rational& y) { return abs(x - y) <= tolerance; };
  if (close(a.value, b.value)) return true;
  if (a.percent == b.percent) return false;
  return a.percent ? close(a.value / 100, b.value) : close(a.value, b.value / 100);
}

class NumericReward final : public Verifier {
 public:
  explicit NumericReward(const RewardConfig& config) : Verifier(config), tolerance_(config.tolerance) {}

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const Result<std::string> solution = solution_of(*request.columns);
    if (!solution.ok()) return unscored(VerdictKind::kBadReference, solution.status().message());
    const std::string reference = reference_text(config(), *solution);
    const std::string all = whole_reference(*solution);
    if (!parse_number(all) && !has_words(all) && is_expression(all)) {
      return unscored(VerdictKind::kBadReference,
                      "the reference " + in_quotes(all, 60) + " is to be worked out first: use math");
    }
    const std::optional<Number> want = number_of(reference);
    if (!want)
      return unscored(VerdictKind::kBadReference, "no number in the reference " + in_quotes(reference, 60));
    const std::optional<std::string> answer = answer_text(config(), request.completion);
    const std::optional<Number> got = answer ? number_of(*answer) : std::nullopt;
    if (!got) return no_answer("no number where 'extract' looks for it");
    return scored_match(same_number(*got, *want, tolerance_), *answer, reference);
  }

  // Where the reference stands, before a number is looked for in it.
  std::string whole_reference(std::string_view solution) const {
    if (const auto marked = text_after(solution, config().marker)) return *marked;
    if (const auto box = last_boxed(solution)) return box->text;
    return std::string(trim(solution));
  }

  Rational tolerance_;
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_numeric(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<NumericReward>(config));
}

}  // namespace fulcrum
