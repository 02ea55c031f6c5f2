#include "engine/objective/rollout_rewards.h"

#include <algorithm>
#include <cmath>

namespace fulcrum {
namespace {

const BatchRow& row_of(const TrainBatch& batch, int64_t r) { return batch.rows[static_cast<size_t>(r)]; }

void mask_row(TrainBatch& batch, const BatchRow& row) {
  std::fill(batch.target_mask.begin() + row.target_begin, batch.target_mask.begin() + row.target_end, 0);
}

}  // namespace

RolloutRewards rollout_rewards(const TrainBatch& batch) {
  RolloutRewards out;
  for (int64_t r = 0; r < batch.num_rows(); ++r) {
    const BatchRow& row = row_of(batch, r);
    if (row.rehearsal) continue;
    const bool usable = row.has_reward && std::isfinite(row.reward);
    out.rows.push_back(r);
    out.groups.push_back(row.group);
    out.rewards.push_back(usable ? std::optional(row.reward) : std::nullopt);
  }
  return out;
}

void punish_overlong(const TrainBatch& batch, const SoftOverlong& rule, RolloutRewards& rollouts,
                     Metrics& metrics) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < rollouts.rows.size(); ++i) {
    if (!rollouts.rewards[i]) continue;
    const BatchRow& row = row_of(batch, rollouts.rows[i]);
    const double penalty = overlong_penalty(rule, row.token_end - row.token_begin);
    *rollouts.rewards[i] += penalty;
    sum += penalty;
    count += 1;
  }
  if (count > 0) add_metric(metrics, "rewards/soft_overlong/mean", sum, count);
}

void mask_unusable_rows(TrainBatch& batch, const RolloutRewards& rollouts, bool mask_truncated,
                        Metrics& metrics) {
  double masked = 0;
  for (size_t i = 0; i < rollouts.rows.size(); ++i) {
    const BatchRow& row = row_of(batch, rollouts.rows[i]);
    const bool truncated = mask_truncated && row.truncated;
    masked += truncated ? 1 : 0;
    if (truncated || !rollouts.rewards[i]) mask_row(batch, row);
  }
  if (mask_truncated) {
    add_metric(metrics, "completions/masked_truncated", masked, static_cast<double>(rollouts.rows.size()));
  }
}

void set_row_advantages(TrainBatch& batch, const RolloutRewards& rollouts, std::span<const double> values) {
  batch.advantages.assign(static_cast<size_t>(batch.num_targets()), 0.0F);
  for (size_t i = 0; i < rollouts.rows.size(); ++i) {
    const BatchRow& row = row_of(batch, rollouts.rows[i]);
    std::fill(batch.advantages.begin() + row.target_begin, batch.advantages.begin() + row.target_end,
              static_cast<float>(values[i]));
  }
}

void mask_undefined_advantages(TrainBatch& batch, Metrics& metrics) {
  double undefined = 0;
  for (const BatchRow& row : batch.rows) {
    const auto begin = batch.advantages.begin() + row.target_begin;
    const auto end = batch.advantages.begin() + row.target_end;
    if (std::all_of(begin, end, [](float a) { return std::isfinite(a); })) continue;
    std::fill(begin, end, 0.0F);
    mask_row(batch, row);
    undefined += 1;
  }
  if (undefined > 0) add_metric(metrics, "advantages/undefined", undefined);
}

}  // namespace fulcrum
