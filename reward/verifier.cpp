#include "reward/verifier.h"

#include <exception>

#include "engine/core/text.h"

namespace fulcrum {

std::vector<Verdict> Verifier::score(std::span<const RewardRequest> requests, Deadline deadline,
                                     std::stop_token stop) const {
  std::vector<Verdict> verdicts;
  verdicts.reserve(requests.size());
  for (const RewardRequest& request : requests) {
    Budget budget(config_.max_steps, deadline, stop);
    if (budget.exhausted()) {
      verdicts.push_back(
          unscored(VerdictKind::kTimeout, "the deadline passed before this completion's turn"));
      continue;
    }
    Verdict verdict;
    try {  // allocation is all that can throw here; one bad row must not take the others with it
      verdict = judge(request, budget);
    } catch (const std::exception& e) {
      verdict = unscored(VerdictKind::kFailed, printable(e.what()));
    }
    if (budget.exhausted())
      verdict = unscored(VerdictKind::kTimeout, "the step budget or the deadline ran out");
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

Verdict Verifier::no_answer(std::string reason) const {
  return {.score = config_.no_answer_score, .kind = VerdictKind::kNoAnswer, .reason = std::move(reason)};
}

Verdict scored(double score, std::string reason) {
  return {.score = score, .kind = VerdictKind::kScored, .reason = std::move(reason)};
}

Verdict unscored(VerdictKind kind, std::string reason) { return {.kind = kind, .reason = std::move(reason)}; }

Verdict scored_match(bool right, std::string_view got, std::string_view want) {
  if (right) return scored(1);
  return scored(0, "got " + in_quotes(got, 60) + ", want " + in_quotes(want, 60));
}

}  // namespace fulcrum
