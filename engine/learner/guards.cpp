#include "engine/learner/guards.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

namespace fulcrum {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace

bool has_no_reward_spread(const TrainBatch& batch) {
  bool any = false;
  for (const BatchGroup& group : batch.groups) {
    const BatchRow* first = nullptr;
    for (int64_t r = group.row_begin; r < group.row_end; ++r) {
      const BatchRow& row = batch.rows[static_cast<size_t>(r)];
      if (!row.has_reward || row.rehearsal) continue;
      any = true;
      if (first == nullptr) first = &row;
      if (row.reward != first->reward) return false;
    }
  }
  return any;
}

Status check_equal_logps(const TrainBatch& batch, std::span<const float> policy,
                         std::span<const float> reference, double limit) {
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < policy.size(); ++i) {
    double difference = std::abs(static_cast<double>(policy[i]) - static_cast<double>(reference[i]));
    if (std::isnan(difference)) difference = std::numeric_limits<double>::infinity();
    if (difference > worst) {
      worst = difference;
      where = i;
    }
  }
  if (worst <= limit) return ok_status();
  const BatchRow& row = batch.rows[static_cast<size_t>(batch.target_row[where])];
  const int64_t token = static_cast<int64_t>(where) - row.target_begin;
  return data_loss("policy and reference have the same weights, but their log-probs differ by " +
                   number(worst) + " (limit " + number(limit) + ") at row " + std::to_string(row.prompt_row) +
                   ", token " + std::to_string(token) + " of its completion (id " +
                   std::to_string(batch.target_ids[where]) + "): the two forward passes do not " +
                   "compute the same thing; no step was taken");
}

}  // namespace fulcrum
