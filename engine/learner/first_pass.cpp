#include "engine/learner/first_pass.h"

#include <algorithm>
#include <cmath>

#include "engine/learner/guards.h"
#include "engine/reference/parameters.h"

namespace fulcrum {

bool finite_where_trained(const TrainBatch& batch, std::span<const float> logps) {
  for (size_t n = 0; n < logps.size(); ++n) {
    if (batch.target_mask[n] != 0 && !std::isfinite(logps[n])) return false;
  }
  return true;
}

Status check_first_step(const TrainBatch& batch, std::span<const float> logps, const Policy& policy,
                        const Reference* reference, const LearnerConfig& config) {
  const double limit = config.dtype == "bfloat16" ? 0.05 : 1e-4;
  if (!batch.stored_logps.empty()) TRY_DO(check_stored_logps(batch, logps, limit));
  if (batch.reference_logps.empty()) return ok_status();
  if (reference->content_hash() != content_hash(copy_parameters(policy))) return ok_status();
  return check_equal_logps(batch, logps, batch.reference_logps, limit);
}

void add_sampling_difference(const TrainBatch& batch, std::span<const float> logps, Metrics& metrics) {
  if (batch.sampling_logps.empty()) return;
  double sum = 0, count = 0, largest = 0;
  for (size_t i = 0; i < logps.size(); ++i) {
    if (batch.target_mask[i] == 0 || batch.rows[static_cast<size_t>(batch.target_row[i])].rehearsal) continue;
    const double difference =
        std::abs(static_cast<double>(logps[i]) - static_cast<double>(batch.sampling_logps[i]));
    sum += difference;
    count += 1;
    largest = std::max(largest, difference);
  }
  if (count == 0) return;
  add_metric(metrics, "sampling/sampling_logp_difference/mean", sum, count);
  add_metric(metrics, "sampling/sampling_logp_difference/max", largest);
}

}  // namespace fulcrum
