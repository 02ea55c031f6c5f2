// One micro-batch forward and backward: the slice's log-probs, the objective's loss on them, and the loss's
// gradient fed back into the model. Called by the learner.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/objective/objective.h"
#include "policy/nn/policy.h"

namespace fulcrum {

struct MicroBatchOptions {
  double temperature = 1;
  int64_t logits_chunk = 1024;
  bool old_is_current =
      false;  // the policy has not moved since the rollout batch began: old log-probs are the current ones
  Policy* reference = nullptr;  // where Needs::divergence
};

struct MicroBatchResult {
  double loss = 0;               // the slice's share of the step's loss
  at::Tensor logps_N;            // detached
  at::Tensor reference_logps_N;  // where Needs::divergence: they come with it
  Metrics metrics;               // the objective's, and entropy if it is needed
};

// Adds the slice's gradient to the parameters' gradients, unless under at::NoGradGuard. The slice has
// targets; if the log-prob of one that counts is not finite, the loss is NaN. Throws torch's exceptions.
Result<MicroBatchResult> run_micro_batch(Policy& policy, const Objective& objective, const TrainBatch& slice,
                                         const MicroBatchOptions& options);

}  // namespace fulcrum
