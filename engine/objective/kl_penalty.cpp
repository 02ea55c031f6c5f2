#include "engine/objective/kl_penalty.h"

#include <algorithm>

namespace fulcrum {

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
