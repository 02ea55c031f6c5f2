// Advantages from the rewards of a prompt's completions: group-normalised (GRPO, arXiv 2402.03300), or
// against the mean of the others (RLOO, arXiv 2402.14740). Called by the policy-gradient objectives once a
// step, on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// What a reward's distance from its group's mean is divided by, and what a group of one gets. The libraries
// differ in each of these, and their learning rates are not transferable across the difference.
struct ScaleRewards {
  enum class By { kGroup, kBatch, kNone };
  enum class Single { kZero, kRaw, kNan };  // kRaw: the reward itself, scaled as by a deviation of 1
  By by = By::kGroup;
  int degrees_lost = 1;  // the variance divides by n - degrees_lost
  double epsilon = 1e-4;
  double variance_floor = 0;
  Single single = Single::kZero;
};

// "group", "batch" and "none" are TRL's; "paper_population", "verl", "verl_vectorized", "openrlhf" and "oat"
// are what those libraries divide by.
Result<ScaleRewards> parse_scale_rewards(std::string_view name);

struct Advantages {
  std::vector<double> values;   // one a row; 0 where the reward is missing
  int64_t groups = 0;           // groups with at least one reward
  int64_t zero_std_groups = 0;  // of these, all rewards equal (groups of one included)
  int64_t single_groups = 0;    // of these, only one reward: no advantage can be formed
  int64_t missing = 0;          // rows without a finite reward
  double std_sum = 0;    // over groups, of the standard deviation (n - 1, or what the preset divides by)
  double batch_std = 0;  // over all rewards of the step
};

// A_i = (r_i - mean_g) / (std + epsilon); `group[i]` names row i's group, in any order. Equal rewards give
// exactly 0, which arithmetic alone does not: distances are formed as (r_i - r_0) - mean(r - r_0), and a
// group with max = min is not divided at all.
Advantages group_advantages(std::span<const std::optional<double>> rewards, std::span<const int64_t> group,
                            const ScaleRewards& scale);

// RLOO: A_i = r_i - mean of the group's others = n/(n - 1) (r_i - mean_g).
Advantages leave_one_out_advantages(std::span<const std::optional<double>> rewards,
                                    std::span<const int64_t> group, ScaleRewards::Single single);

}  // namespace fulcrum
