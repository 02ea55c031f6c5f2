// What PPO reports, under the names of TRL's PPOTrainer. Called by ppo.cpp.
#pragma once

#include <vector>

#include "engine/core/metrics.h"
#include "engine/objective/objective.h"
#include "engine/objective/policy_gradient.h"

namespace fulcrum {

// The step's numbers on the host, one a target.
struct PpoNumbers {
  std::vector<double> log_ratios;  // old - reference; 0 without a reference
  std::vector<double> kl;          // the estimate of it that is penalised
  std::vector<double> rewards;     // score and, with kl_in "reward", penalty
  std::vector<double> returns;
  double sequence_kl = 0;  // sum over the rows that count of their summed log-ratios
};

// objective/{kl, entropy, scores, non_score_reward, rlhf_reward, kl_coef} and the critic's explained
// variance. Fills numbers.sequence_kl; gives the number of rows that count, those with an unmasked token.
double add_ppo_metrics(const TrainBatch& batch, double beta, PpoNumbers& numbers, Metrics& metrics);

// loss/policy_avg, policy/{approxkl_avg, clipfrac_avg}, val/ratio: means over the slice's unmasked tokens, of
// the surrogate that gave the loss.
void add_policy_metrics(const LossInput& input, const PolicyLoss& policy, double tokens, Metrics& metrics);

}  // namespace fulcrum
