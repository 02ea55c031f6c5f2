// Two answers, one a part: reading and comparing them ends, equals itself, and a budget decides whether there
// is a verdict but never which.
#include "reward/make_rewards.h"
#include "reward/math/answer.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

Budget steps(int64_t count) { return Budget(count, Deadline::never(), {}); }

void check_alone(std::string_view text) {
  Budget budget = steps(20000);
  Algebra algebra(budget);
  const std::optional<MathAnswer> answer = read_math(text, algebra);
  if (!answer || budget.exhausted()) return;
  const bool same = same_answer(*answer, *answer, algebra, 0);
  LAW(same || budget.exhausted());
}

Verdict judge(int64_t max_steps, const std::string& completion, const Json& columns) {
  const auto reward = make_reward({.name = "math", .max_steps = max_steps});
  LAW(reward.ok());
  const RewardRequest request{.completion = completion, .columns = &columns};
  return (*reward)->score({&request, 1}, Deadline::never(), {}).at(0);
}

void check(std::string_view input) {
  const auto parts = split_parts(input, 2);
  check_alone(parts[0]);
  check_alone(parts[1]);
  const Json columns{{"solution", std::string(parts[1])}};
  for (const std::string& completion : {std::string(parts[0]), "\\boxed{" + std::string(parts[0]) + "}"}) {
    const Verdict verdict = judge(5000, completion, columns);
    LAW(!verdict.score || *verdict.score == 0 || *verdict.score == 1);
    if (verdict.kind == VerdictKind::kTimeout) continue;
    const Verdict patient = judge(50000, completion, columns);
    LAW(patient.kind == verdict.kind && patient.score == verdict.score);
  }
  const Verdict self = judge(20000, std::string(parts[1]), columns);
  LAW(self.kind != VerdictKind::kScored || self.score == 1);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
