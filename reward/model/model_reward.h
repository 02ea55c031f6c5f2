// The reward named `model`: a trained reward model as a judge in this process. Made by make_rewards() for the
// pipeline, the verbs of the engine and the reward service. Thread-safe.
#pragma once

#include <memory>

#include "reward/reward.h"
#include "reward/reward_config.h"

namespace fulcrum {

// Reads the model and its tokenizer from config.path. A completion is read as the model was trained on it:
// the prompt with what the tokenizer begins with, the completion, and the end of text unless the length limit
// cut it. One that is longer than the model's context has no score.
Result<std::unique_ptr<RewardFunction>> make_model_reward(const RewardConfig& config);

}  // namespace fulcrum
