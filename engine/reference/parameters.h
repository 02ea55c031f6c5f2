// Weights of a live policy as named tensors, and back; moving one policy towards another. Called by the
// references. Not thread-safe: the policies must not be in use.
#pragma once

#include "engine/core/status.h"
#include "policy/nn/policy.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// A copy of the fp32 tensors.
TensorMap copy_tensors(const NamedTensors& tensors);
TensorMap copy_parameters(const Policy& policy);

// kInvalidArgument if names or shapes are not those of `into`; nothing is then changed.
Status set_tensors(const NamedTensors& into, const TensorMap& tensors);
Status set_parameters(Policy& policy, const TensorMap& tensors);

// kInvalidArgument naming the first difference of names or shapes.
Status check_same_tensors(const Policy& reference, const Policy& policy);

// target <- alpha * source + (1 - alpha) * target, in double, rounded once.
Status mix_parameters(Policy& target, const Policy& source, double alpha);

// How a reference follows the policy (TRL's sync_ref_model, arXiv 2404.09656; with every = 1 WARP's moving
// average, arXiv 2406.16768).
struct MoveRule {
  double alpha = 0;  // share of the policy; 0: never moves
  int64_t every = 1;
};

// After optimizer step `step` (from 1): mixes the policy as it is now into the reference where the step is a
// multiple of `every`. Whether it moved.
Result<bool> follow(Policy& reference, const Policy& policy, const MoveRule& rule, int64_t step);

}  // namespace fulcrum
