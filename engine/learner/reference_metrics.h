// How far the policy is from what it is held to, as metrics. Called by the learner once a step. Pure but for
// the state it is given.
#pragma once

#include <span>

#include "engine/core/metrics.h"
#include "engine/objective/objective.h"
#include "engine/reference/reference.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// ref/version; and of batches that the policy sampled, over the targets that train: ref/kl, the mean of log
// pi
// - log reference, which estimates KL(policy || reference) a token; ref/kl_excess, the same less what it was
// in the run's first step. Against a soup the first is not zero when training begins (SALSA, arXiv
// 2411.01798). `logps`: of the policy before the update. A soup's two are called soup/*.
void add_reference_metrics(const Reference& reference, const TrainBatch& batch, std::span<const float> logps,
                           ObjectiveState& state, Metrics& metrics);

// After a move of the reference: ref/kl_after_move (soup/...), this step's KL had the reference been what it
// is now. `moved`: its log-probs now. The jump is expected.
void add_move_metrics(const Reference& reference, const TrainBatch& batch, std::span<const float> moved,
                      Metrics& metrics);

}  // namespace fulcrum
