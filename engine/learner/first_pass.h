// What the first forward pass over a batch says before the policy moves: whether it computes what was
// computed before. Called by the learner once a step.
#pragma once

#include <span>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/learner/learner_config.h"
#include "engine/reference/reference.h"
#include "engine/types/train_batch.h"
#include "policy/nn/policy.h"

namespace fulcrum {

// Whether the log-probs, one a target, are finite wherever a target trains.
bool finite_where_trained(const TrainBatch& batch, std::span<const float> logps);

// Before the first step of a run stored samples of the policy have the log-probs they were stored with, and a
// reference with the policy's weights gives the policy's log-probs; kDataLoss naming the row and token
// otherwise. `logps`: the policy's, one a target. `reference` may be null.
Status check_first_step(const TrainBatch& batch, std::span<const float> logps, const Policy& policy,
                        const Reference* reference, const LearnerConfig& config);

// sampling/sampling_logp_difference: |learner - rollout| over the targets that train; rehearsal rows were not
// sampled in this step.
void add_sampling_difference(const TrainBatch& batch, std::span<const float> logps, Metrics& metrics);

}  // namespace fulcrum
