// From config to judges: a verifier by its name, and the weighted sum that a job trains on. Called when a job
// is built and by the `score` and `eval` verbs. What is made is thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reward/reward.h"
#include "reward/reward_config.h"

namespace fulcrum {

// Makes a judge that this library cannot: the one named "service" (reward/rpc) or "model" (reward/model).
// Empty: the name is refused.
using JudgeFactory = std::function<Result<std::unique_ptr<RewardFunction>>(const RewardConfig&)>;

// One verifier of verifiers.def. kInvalidArgument names the key that is missing or wrong.
Result<std::unique_ptr<RewardFunction>> make_reward(const RewardConfig& config);

// Whether a judge can be made of it, as far as this library knows; of `service` and `model`, whether the key
// that names them is set. kInvalidArgument.
Status check_reward(const RewardConfig& config);

// What the items are called in a verdict's parts: their name, the second of one name "name_2".
std::vector<std::string> reward_names(const std::vector<RewardConfig>& configs);

// The sum of weight * score over all items (one item or many). Its verdicts list the unweighted scores in
// `parts`, under reward_names(). The sum has a score only if every part has
// one, and is of the gravest kind among its parts (failed > timeout > bad_reference > no_answer > scored).
Result<std::unique_ptr<RewardFunction>> make_rewards(const std::vector<RewardConfig>& configs,
                                                     const JudgeFactory& service = {},
                                                     const JudgeFactory& model = {});

}  // namespace fulcrum
