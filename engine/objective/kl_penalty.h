// The KL penalty in the reward, and the controller of its strength. Called in prepare() by ppo.cpp, rloo.cpp
// and reinforce_pp.cpp, on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// What a penalty of strength `beta` needs of the learner beside `needs`.
Needs with_kl_penalty(Needs needs, double beta);

// k1 = log pi_old - log pi_ref at each of the row's targets, 0 where masked. kDataLoss naming the prompt's
// row if one is not finite.
Result<std::vector<double>> row_kl(const TrainBatch& batch, const BatchRow& row);

struct KlRewardOptions {
  double beta = 0.05;
  std::optional<double> score_clip;  // the score is first cut to +-score_clip
  double missing_eos_penalty = 0;    // then this is taken off where the completion was cut short
};

// What the judge said of a completion.
struct CompletionScore {
  double score = 0;
  bool truncated = false;
};

struct TokenRewards {
  std::vector<double> rewards;  // one a token; 0 where masked
  int64_t score_index = -1;     // the token that got the score; -1: none counts, the score is dropped
};

// Ziegler et al., "Fine-Tuning Language Models from Human Preferences" (arXiv 1909.08593), section 2, token
// by token: r_t = -beta kl_t, and the score at the last unmasked token. kl[t] is an estimate of
// KL(policy || reference) at the token.
TokenRewards kl_reward(std::span<const double> kl, std::span<const uint8_t> mask, CompletionScore score,
                       const KlRewardOptions& options);

// The adaptive strength of the same paper (section 2.2): with n samples in the step,
//   beta <- beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)
// KL and target are per sequence, in nats. A horizon of a fifth of n or less could turn beta negative:
// check_job refuses it.
struct KlController {
  double target = 6, horizon = 10000;
  double next(double beta, double kl, double n) const;
};

}  // namespace fulcrum
