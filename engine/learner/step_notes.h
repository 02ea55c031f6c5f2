// What a step's metrics say that its user should read in words: each said once, until a step is in order
// again. Called by the learner; not thread-safe.
#pragma once

#include <cstdint>

#include "engine/core/metrics.h"

namespace fulcrum {

class StepNotes {
 public:
  // Before the update: the samples' log-probs are not this policy's (sampling/sampling_logp_difference).
  void note_samples(int64_t step, const Metrics& metrics);
  // After all updates of a rollout batch: none had a gradient (guards/zero_gradient).
  void note_idle(int64_t step, const Metrics& metrics);

 private:
  bool strange_ = false, idle_ = false;
};

}  // namespace fulcrum
