// Group-normalised advantages (GRPO, arXiv 2402.03300; TRL's preset). Called by the policy-gradient
// objectives once a step, on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// What a reward's distance from its group's mean is divided by.
enum class ScaleRewards { kGroup, kBatch, kNone };

Result<ScaleRewards> parse_scale_rewards(std::string_view name);

struct Advantages {
  std::vector<double> values;   // one a row; 0 where the reward is missing
  int64_t groups = 0;           // groups with at least one reward
  int64_t zero_std_groups = 0;  // of these, all rewards equal (groups of one included)
  int64_t single_groups = 0;    // of these, only one reward: no advantage can be formed
  int64_t missing = 0;          // rows without a finite reward
  double std_sum = 0;           // over groups, of the standard deviation with n - 1
  double batch_std = 0;         // over all rewards of the step
};

// A_i = (r_i - mean_g) / (std + epsilon), std with n - 1 over the group or the batch; `group[i]` names row
// i's group, in any order. Equal rewards give exactly 0, which arithmetic alone does not: the mean is formed
// as r_0 + mean(r - r_0), and a group with max = min is not divided at all.
Advantages group_advantages(std::span<const std::optional<double>> rewards, std::span<const int64_t> group,
                            ScaleRewards scale, double epsilon = 1e-4);

}  // namespace fulcrum
