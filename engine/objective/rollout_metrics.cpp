#include "engine/objective/rollout_metrics.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace fulcrum {
namespace {

void add_range(Metrics& metrics, const std::string& suffix, std::span<const double> lengths) {
  if (lengths.empty()) return;
  double sum = 0;
  for (double n : lengths) sum += n;
  add_metric(metrics, "completions/mean_" + suffix, sum, static_cast<double>(lengths.size()));
  add_metric(metrics, "completions/min_" + suffix, *std::min_element(lengths.begin(), lengths.end()));
  add_metric(metrics, "completions/max_" + suffix, *std::max_element(lengths.begin(), lengths.end()));
}

}  // namespace

void add_reward_metrics(std::span<const std::optional<double>> rewards, const Advantages& advantages,
                        ScaleRewards::By scale, Metrics& metrics) {
  std::vector<double> present;
  double sum = 0;
  for (const auto& r : rewards) {
    if (!r.has_value() || !std::isfinite(*r)) continue;
    present.push_back(*r);
    sum += *r;
  }
  const auto groups = static_cast<double>(advantages.groups);
  add_metric(metrics, "rewards/missing", static_cast<double>(advantages.missing));
  add_metric(metrics, "groups/single", static_cast<double>(advantages.single_groups));
  if (present.empty()) return;
  add_metric(metrics, "reward", sum, static_cast<double>(present.size()));
  add_metric(metrics, "rewards/min", *std::min_element(present.begin(), present.end()));
  add_metric(metrics, "rewards/max", *std::max_element(present.begin(), present.end()));
  if (scale == ScaleRewards::By::kBatch) {
    add_metric(metrics, "reward_std", advantages.batch_std);
    add_metric(metrics, "frac_reward_zero_std", advantages.batch_std == 0 ? 1 : 0);
  } else {
    add_metric(metrics, "reward_std", advantages.std_sum, groups);
    add_metric(metrics, "frac_reward_zero_std", static_cast<double>(advantages.zero_std_groups), groups);
  }
}

void add_length_metrics(const TrainBatch& batch, Metrics& metrics) {
  std::vector<double> all, terminated;
  int64_t clipped = 0, empty = 0;
  for (const BatchRow& row : batch.rows) {
    if (row.rehearsal) continue;
    const auto length = static_cast<double>(row.token_end - row.token_begin);
    all.push_back(length);
    if (!row.truncated) terminated.push_back(length);
    clipped += row.truncated;
    empty += row.token_end == row.token_begin;
  }
  add_range(metrics, "length", all);
  add_range(metrics, "terminated_length", terminated);
  if (all.empty()) return;
  add_metric(metrics, "completions/clipped_ratio", static_cast<double>(clipped),
             static_cast<double>(all.size()));
  add_metric(metrics, "completions/empty", static_cast<double>(empty));
}

}  // namespace fulcrum
