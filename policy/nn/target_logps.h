// What models say of a slice's own targets, and the check every batch passes first. Called by batch_logps and
// the learner.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/core/status.h"
#include "engine/types/train_batch.h"
#include "policy/nn/policy.h"
#include "policy/nn/token_divergences.h"

namespace fulcrum {

// kInvalidArgument, naming the row, where a token is outside the vocabulary.
Status check_vocabulary(const TrainBatch& batch, const ModelSpec& spec);

// [N] with gradient, of a batch that is small enough to be run whole. Throws torch's exceptions.
at::Tensor target_logps(Policy& policy, const TrainBatch& slice, double temperature, int64_t chunk,
                        at::Tensor* entropy_N = nullptr);

// The same with the policy's exact divergence from a reference, which gets no gradient.
TokenDivergences target_divergences(Policy& policy, Policy& reference, const TrainBatch& slice,
                                    std::shared_ptr<const Divergence> divergence, double temperature,
                                    int64_t chunk);

}  // namespace fulcrum
