// The gradient of one optimizer step, added up over micro-batches; the numbers over the ranks too. Called by
// the learner.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "engine/learner/agreement.h"
#include "engine/learner/micro_batch.h"

namespace fulcrum {

// What a loss is made with.
struct LossPass {
  Models models;
  const Objective& objective;
  ForwardOptions options;
  Agreement& ranks;
  bool old_is_current = false;  // as run_micro_batch() has it
};

// A step's loss; if an output that it is made of is not finite, NaN and the reason.
struct StepLoss {
  double value = 0;
  std::string not_finite;
  std::vector<float> logps;            // the policy's, one a target; none of a model with a score head
  std::vector<float> reference_logps;  // where they come with an exact divergence
};

// Adds to the parameters' gradients, unless under at::NoGradGuard, and the objective's metrics to `metrics`.
// Of several ranks each runs its share of the micro-batches: the gradients are those of its share, all else
// is the same on every rank. kCancelled within a micro-batch of a stop request. Throws torch's exceptions.
Result<StepLoss> accumulate(const LossPass& pass, const TrainBatch& batch, Metrics& metrics,
                            const std::stop_token& stop);

}  // namespace fulcrum
