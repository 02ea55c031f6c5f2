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

// The largest difference of two log-probs of the same token; one that is no number is beyond all limits.
struct Largest {
  double difference = 0;
  size_t target = 0;
  void note(size_t i, double a, double b) {
    const double d = std::isnan(a - b) ? std::numeric_limits<double>::infinity() : std::abs(a - b);
    if (d <= difference) return;
    difference = d;
    target = i;
  }
};

std::string where(const TrainBatch& batch, const Largest& largest, double limit) {
  const BatchRow& row = batch.rows[static_cast<size_t>(batch.target_row[largest.target])];
  const int64_t token = static_cast<int64_t>(largest.target) - row.target_begin;
  return number(largest.difference) + " (limit " + number(limit) + ") at row " +
         std::to_string(row.prompt_row) + ", token " + std::to_string(token) + " of its completion (id " +
         std::to_string(batch.target_ids[largest.target]) + ")";
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
  Largest largest;
  for (size_t i = 0; i < policy.size(); ++i) largest.note(i, policy[i], reference[i]);
  if (largest.difference <= limit) return ok_status();
  return data_loss("policy and reference have the same weights, but their log-probs differ by " +
                   where(batch, largest, limit) +
                   ": the two forward passes do not compute the same thing; no step was taken");
}

Status check_stored_logps(const TrainBatch& batch, std::span<const float> policy, double limit) {
  Largest largest;
  for (size_t i = 0; i < policy.size(); ++i) {
    if (batch.target_mask[i] == 0 || !batch.rows[static_cast<size_t>(batch.target_row[i])].rehearsal)
      continue;
    largest.note(i, policy[i], batch.stored_logps[i]);
  }
  if (largest.difference <= limit) return ok_status();
  return data_loss("the stored samples are the policy's own, but their stored log-probs differ from its by " +
                   where(batch, largest, limit) +
                   ": presample.jsonl is of another model or temperature; remove it from the run folder and "
                   "run again; no step was taken");
}

}  // namespace fulcrum
