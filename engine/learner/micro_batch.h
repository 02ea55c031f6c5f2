// One micro-batch forward and backward: what the models say of the slice, the objective's loss on it, and the
// loss's gradient fed back into the models. Called by the learner.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/learner/critic.h"
#include "engine/objective/objective.h"
#include "policy/nn/head_memory.h"
#include "policy/nn/policy.h"

namespace fulcrum {

// Whose outputs a loss is a function of.
struct Models {
  Policy& policy;
  HeadMemory& head;             // the policy's
  Critic* critic = nullptr;     // where the objective needs values
  Policy* reference = nullptr;  // where it needs an exact divergence; constant
};

struct ForwardOptions {
  double temperature = 1;
  int64_t max_tokens = 16384;
  int64_t logits_chunk = 1024;
};

struct MicroBatchResult {
  double loss = 0;               // the slice's share of the step's loss
  std::string not_finite;        // why it is NaN: what, and of which row
  at::Tensor logps_N;            // detached; undefined for a model with a score head
  at::Tensor reference_logps_N;  // where Needs::divergence: they come with it
  Metrics metrics;               // the objective's, and entropy if it is needed
};

// Adds the slice's gradient to the parameters' gradients, unless under at::NoGradGuard. `old_is_current`: the
// policy has not moved since the rollout batch began, so that its old log-probs are the current ones. The
// slice has targets; if an output that counts is not finite, the loss is NaN. Throws torch's exceptions.
Result<MicroBatchResult> run_micro_batch(const Models& models, const Objective& objective,
                                         const TrainBatch& slice, const ForwardOptions& options,
                                         bool old_is_current);

}  // namespace fulcrum
