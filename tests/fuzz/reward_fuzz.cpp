// A verifier of any config over any completion and data row; the three are the parts. The pattern of `regex`
// comes with the config.
#include <cmath>

#include "engine/core/text.h"
#include "reward/make_rewards.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check_verdict(const Verdict& verdict) {
  const bool judged = verdict.kind == VerdictKind::kScored || verdict.kind == VerdictKind::kNoAnswer;
  LAW(verdict.score.has_value() == judged);
  LAW(!verdict.score || std::isfinite(*verdict.score));
  LAW(printable(verdict.reason, 1 << 14) == verdict.reason);
}

void check(std::string_view input) {
  const auto parts = split_parts(input, 3);
  const Result<Json> json = parse_json(parts[0]), columns = parse_json(parts[2]);
  if (!good(json) || !good(columns)) return;
  Result<RewardConfig> config = read_config<RewardConfig>(*json);
  if (!good(config)) return;
  config->max_steps = std::min<int64_t>(config->max_steps, 5000);
  const auto reward = make_reward(*config);
  if (!good(reward)) return;
  const RewardRequest request{
      .completion = parts[1], .columns = &*columns, .num_tokens = static_cast<int64_t>(parts[1].size())};
  const Verdict verdict = (*reward)->score({&request, 1}, Deadline::never(), {}).at(0);
  check_verdict(verdict);

  const auto sum = make_rewards({*config, *config});
  LAW(sum.ok());
  const Verdict twice = (*sum)->score({&request, 1}, Deadline::never(), {}).at(0);
  check_verdict(twice);
  LAW(twice.kind == verdict.kind);
  if (verdict.score) LAW(*twice.score == config->weight * *verdict.score + config->weight * *verdict.score);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
