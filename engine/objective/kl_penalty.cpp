#include "engine/objective/kl_penalty.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/objective/config/ppo_config.h"

namespace fulcrum {

Needs with_kl_penalty(Needs needs, double beta) {
  needs.policy_logps = needs.policy_logps || beta > 0;
  needs.reference_logps = beta > 0;
  return needs;
}

Result<std::vector<double>> row_kl(const TrainBatch& batch, const BatchRow& row) {
  std::vector<double> out;
  for (auto n = static_cast<size_t>(row.target_begin); n < static_cast<size_t>(row.target_end); ++n) {
    const double kl = double(batch.old_logps[n]) - double(batch.reference_logps[n]);
    out.push_back(batch.target_mask[n] == 0 ? 0 : kl);
    if (!std::isfinite(out.back())) {
      return data_loss("the KL of a completion of prompt row " + std::to_string(row.prompt_row) +
                       " to the reference is not finite: the two models do not share a vocabulary, or one "
                       "has diverged");
    }
  }
  return out;
}

TokenRewards kl_reward(std::span<const double> kl, std::span<const uint8_t> mask, CompletionScore score,
                       const KlRewardOptions& options) {
  TokenRewards out{std::vector<double>(kl.size(), 0.0)};
  for (size_t t = 0; t < kl.size(); ++t) {
    if (mask[t] == 0) continue;
    out.rewards[t] = -options.beta * kl[t];
    out.score_index = static_cast<int64_t>(t);
  }
  if (out.score_index < 0) return out;
  double given = score.score;
  if (options.score_clip) given = std::clamp(given, -*options.score_clip, *options.score_clip);
  if (score.truncated) given -= options.missing_eos_penalty;
  out.rewards[static_cast<size_t>(out.score_index)] += given;
  return out;
}

double KlController::next(double beta, double kl, double n) const {
  const double error = std::clamp(kl / target - 1, -kMaxKlError, kMaxKlError);
  return beta * (1 + error * n / horizon);
}

}  // namespace fulcrum
