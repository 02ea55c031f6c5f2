// What models say of a slice's own targets, and the check every batch passes first. Called by batch_logps,
// the learner and reward models.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/core/status.h"
#include "engine/types/train_batch.h"
#include "policy/nn/policy.h"

namespace fulcrum {

// kInvalidArgument, naming the row, where a token is outside the vocabulary.
Status check_vocabulary(const TrainBatch& batch, const ModelSpec& spec);

// The hidden state before each target, [N, D]: what its log-prob and its value are functions of.
at::Tensor target_states(const at::Tensor& hidden_TD, const TrainBatch& slice);
at::Tensor target_ids(const TrainBatch& slice, at::Device device);  // int64 [N]
// The hidden state of each row's last token (of the prompt's, where the completion is empty), [R, D]: what
// its score is a function of.
at::Tensor last_states(const at::Tensor& hidden_TD, const TrainBatch& slice);

// [N] with gradient, of the slice's target_states(). Throws torch's exceptions.
at::Tensor state_logps(const Policy& policy, const at::Tensor& states_ND, const TrainBatch& slice,
                       double temperature, int64_t chunk, at::Tensor* entropy_N = nullptr);
// The same for a batch that is small enough to be run whole.
at::Tensor target_logps(Policy& policy, const TrainBatch& slice, double temperature, int64_t chunk);

}  // namespace fulcrum
