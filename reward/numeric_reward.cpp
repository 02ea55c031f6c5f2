// `numeric`: both answers as exact rationals. GSM8K's "#### 42" works by the default marker.
#include <algorithm>
#include <array>
#include <optional>
#include <vector>

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

constexpr std::string_view kDigits = "0123456789", kBlanks = " \t\r\n";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

// The commands and words of a text, a command with its backslash.
std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i + (text[i] == '\\' ? 1 : 0);
    const size_t end = std::min(text.find_first_not_of(kLetters, begin), text.size());
    if (end > begin) out.push_back(text.substr(i, end - i));
    i = std::max(end, i + 1);
  }
  return out;
}

// Whether an operator stands between digits: 5-3, 6 / 3.
bool has_operation(std::string_view text) {
  size_t at = text.find_first_of("+-*/");
  for (; at != std::string_view::npos; at = text.find_first_of("+-*/", at + 1)) {
    const size_t before = text.substr(0, at).find_last_not_of(kBlanks),
                 after = text.find_first_not_of(kBlanks, at + 1);
    if (before != std::string_view::npos && after != std::string_view::npos &&
        kDigits.find(text[before]) != std::string_view::npos &&
        kDigits.find(text[after]) != std::string_view::npos)
      return true;
  }
  return false;
}

// Whether a reference that is no number is something to be worked out first ("2^3", "5-3", "1 \\over 2"): its
// last number would be a wrong answer that passes for the right one. Not so where it has words, as a worked
// solution has: there the last number is what is meant; a unit may follow one ("18\\text{ cm}").
bool is_expression(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kOfUnits = {"\\text", "\\mathrm", "\\mbox", "\\circ",
                                                               "\\degree"};
  bool computes = false;
  for (const std::string_view word : words_of(text)) {
    if (word.front() != '\\' && word.size() > 1) return false;
    computes |=
        word.front() == '\\' && std::none_of(kOfUnits.begin(), kOfUnits.end(),
                                             [&](std::string_view unit) { return word.starts_with(unit); });
  }
  return computes || text.find('^') != std::string_view::npos || has_operation(text);
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
    if (!parse_number(all) && is_expression(all)) {
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
