// From verdicts to what an objective makes advantages of, and back into the batch. Called by the
// policy-gradient objectives in prepare(), on the host in double. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/metrics.h"
#include "engine/objective/overlong.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// The exploration rows of a batch, in order.
struct RolloutRewards {
  std::vector<int64_t> rows;
  std::vector<int64_t> groups;
  std::vector<std::optional<double>> rewards;  // no value: not judged, or not a number
};
RolloutRewards rollout_rewards(const TrainBatch& batch);

// Adds the penalty to each reward that is there.
void punish_overlong(const TrainBatch& batch, const SoftOverlong& rule, RolloutRewards& rollouts,
                     Metrics& metrics);

// Takes rows without a reward, and (by option) truncated ones, out of the loss. Truncated rows keep their
// reward in the group's mean, as in TRL.
void mask_unusable_rows(TrainBatch& batch, const RolloutRewards& rollouts, bool mask_truncated,
                        Metrics& metrics);

// One advantage a row, on each of its targets; all other targets get 0.
void set_row_advantages(TrainBatch& batch, const RolloutRewards& rollouts, std::span<const double> values);

// Rows with an advantage that is not finite leave the loss and are counted.
void mask_undefined_advantages(TrainBatch& batch, Metrics& metrics);

}  // namespace fulcrum
