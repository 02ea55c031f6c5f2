// What a rollout batch looks like, under TRL's metric names. Called by policy_gradient.cpp once a step, on
// the host.
#pragma once

#include <optional>
#include <span>

#include "engine/core/metrics.h"
#include "engine/objective/advantages.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// reward, reward_std, frac_reward_zero_std; rewards/{min,max}; counters rewards/missing and groups/single.
void add_reward_metrics(std::span<const std::optional<double>> rewards, const Advantages& advantages,
                        ScaleRewards::By scale, Metrics& metrics);

// completions/{mean,min,max}_length, completions/clipped_ratio, completions/{mean,min,max}_terminated_length,
// over the exploration rows; completions/empty.
void add_length_metrics(const TrainBatch& batch, Metrics& metrics);

}  // namespace fulcrum
