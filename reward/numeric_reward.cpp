// `numeric`: both answers as exact rationals. GSM8K's "#### 42" works by the default marker.
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
    const std::optional<Number> want = number_of(reference);
    if (!want)
      return unscored(VerdictKind::kBadReference, "no number in the reference " + in_quotes(reference, 60));
    const std::optional<std::string> answer = answer_text(config(), request.completion);
    const std::optional<Number> got = answer ? number_of(*answer) : std::nullopt;
    if (!got) return no_answer("no number where 'extract' looks for it");
    return scored_match(same_number(*got, *want, tolerance_), *answer, reference);
  }

  Rational tolerance_;
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_numeric(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<NumericReward>(config));
}

}  // namespace fulcrum
