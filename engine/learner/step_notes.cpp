#include "engine/learner/step_notes.h"

#include <string>

#include "engine/core/log.h"

namespace fulcrum {
namespace {

double mean_of(const Metrics& metrics, const std::string& name) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? 0 : found->second.mean();
}

std::string why_idle(const Metrics& metrics) {
  if (mean_of(metrics, "fdpg/zero_z") == 1) return "no sample lies in the target: none meets the constraints";
  if (mean_of(metrics, "pairs/identical") == 1) return "both texts of every pair are equal";
  return "no rewards, none that differ, or every row masked";
}

}  // namespace

// Samples that are a little older differ by hundredths of a nat a token.
void StepNotes::note_samples(int64_t step, const Metrics& metrics) {
  constexpr double kStrange = 0.5;
  const double difference = mean_of(metrics, "sampling/sampling_logp_difference/mean");
  const bool strange = difference > kStrange;
  if (strange && !strange_) {
    log_warn("step " + std::to_string(step) + ": the samples' log-probs differ from the policy's by " +
             std::to_string(difference) +
             " nats a token: a worker has other weights or another temperature, or does not tell the truth");
  }
  strange_ = strange;
}

void StepNotes::note_idle(int64_t step, const Metrics& metrics) {
  const bool idle = mean_of(metrics, "guards/zero_gradient") == 1;
  if (idle && !idle_) {
    log_warn("step " + std::to_string(step) + ": nothing to learn from (" + why_idle(metrics) +
             "); the weights stay until a step has a gradient");
  }
  idle_ = idle;
}

}  // namespace fulcrum
