// `exact`: the answer is the reference, letter for letter, blanks aside.
#include <algorithm>

#include "engine/core/text.h"
#include "reward/answer_text.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

// Runs of blanks become one space; ASCII letters lose their case if asked.
std::string normal_form(std::string_view text, bool ignore_case) {
  std::string out;
  for (const char c : trim(text)) {
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
    if (blank && out.ends_with(' ')) continue;
    out += blank ? ' ' : ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

class ExactReward final : public Verifier {
 public:
  using Verifier::Verifier;

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const Result<std::string> solution = solution_of(*request.columns);
    if (!solution.ok()) return unscored(VerdictKind::kBadReference, solution.status().message());
    const std::optional<std::string> answer = answer_text(config(), request.completion);
    if (!answer) return no_answer("no answer where 'extract' looks for it");
    const std::string want = normal_form(reference_text(config(), *solution), config().ignore_case);
    return scored_match(normal_form(*answer, config().ignore_case) == want, *answer, want);
  }
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_exact(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<ExactReward>(config));
}

}  // namespace fulcrum
