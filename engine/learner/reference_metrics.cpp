#include "engine/learner/reference_metrics.h"

#include <string>
#include <vector>

namespace fulcrum {
namespace {

constexpr const char* kStart = "reference/kl_start";

// Sum and count of a - b over the sampled targets that train.
Metric difference(const TrainBatch& batch, std::span<const float> a, std::span<const float> b) {
  Metric out;
  for (size_t i = 0; i < a.size(); ++i) {
    if (batch.target_mask[i] == 0 || batch.rows[static_cast<size_t>(batch.target_row[i])].rehearsal) continue;
    out.sum += static_cast<double>(a[i]) - static_cast<double>(b[i]);
    out.count += 1;
  }
  return out;
}

std::string prefix(const Reference& reference) { return reference.is_soup() ? "soup/" : "ref/"; }

}  // namespace

void add_reference_metrics(const Reference& reference, const TrainBatch& batch, std::span<const float> logps,
                           ObjectiveState& state, Metrics& metrics) {
  add_metric(metrics, "ref/version", static_cast<double>(reference.version()));
  if (batch.sampling_logps.empty()) return;
  const Metric kl = difference(batch, logps, batch.reference_logps);
  if (kl.count == 0) return;
  std::vector<double>& start = state.values[kStart];
  if (start.empty()) start = {kl.mean()};
  metrics[prefix(reference) + "kl"] = kl;
  add_metric(metrics, prefix(reference) + "kl_excess", kl.mean() - start[0]);
}

void add_move_metrics(const Reference& reference, const TrainBatch& batch, std::span<const float> moved,
                      Metrics& metrics) {
  const auto before = metrics.find(prefix(reference) + "kl");
  if (before == metrics.end()) return;
  const Metric shift = difference(batch, batch.reference_logps, moved);
  add_metric(metrics, prefix(reference) + "kl_after_move", before->second.mean() + shift.mean());
}

}  // namespace fulcrum
