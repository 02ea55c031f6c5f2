// Measures a policy on problems: pass@k (unbiased, with intervals), maj@k, mean reward. Called by the online
// loop on its cadence, by the `eval` verb and by the demo. Pure given the clients; one call at a time.
#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "reward/pass_at_k.h"
#include "reward/pool.h"
#include "reward/reward_config.h"
#include "rollout/rollout.h"

namespace fulcrum {

struct EvalPlan {
  uint64_t seed = 0;
  int64_t step = 0;  // part of the sampling key, so that each evaluation draws anew
  int64_t num_generations = 4;
  std::vector<int64_t> k = {1, 4};
  SamplingParams sampling;
  double correct_reward = 1.0;  // reward from which a completion counts as correct
  RewardConfig answer;          // says where the answer stands that a completion votes for in maj@k
};

// The first of the rewards that looks for an answer; none: the whole completion is the answer.
RewardConfig answer_of(const std::vector<RewardConfig>& rewards);

struct AtK {
  int64_t k = 1;
  std::optional<Estimate> pass;      // pass@k with its interval; none: fewer than k completions
  std::optional<Estimate> majority;  // maj@k
};

struct EvalReport {
  std::vector<SolveCount> problems;  // judged completions of each prompt, and how many are correct
  double mean_reward = 0;
  double mean_length = 0;  // tokens
  std::vector<AtK> at_k;   // parallel to plan.k
  std::vector<RolloutGroup> groups;
  std::vector<std::vector<Verdict>> verdicts;

  // eval_reward, eval_pass@k, eval_maj@k, eval_completions/mean_length.
  Metrics metrics() const;
};

Result<EvalReport> evaluate(RolloutClient& rollouts, RewardPool& rewards, std::span<const Prompt> prompts,
                            PolicyVersion version, const EvalPlan& plan, std::stop_token stop);

}  // namespace fulcrum
