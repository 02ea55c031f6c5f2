// Weights of a live policy as named tensors, and back; moving one policy towards another. Called by the
// references. Not thread-safe: the policies must not be in use.
#pragma once

#include "engine/core/status.h"
#include "policy/nn/policy.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// A copy of the fp32 parameters.
TensorMap copy_parameters(const Policy& policy);

// kInvalidArgument if names or shapes are not the policy's; the policy is then as it was.
Status set_parameters(Policy& policy, const TensorMap& tensors);

// target <- alpha * source + (1 - alpha) * target, in double, rounded once.
Status mix_parameters(Policy& target, const Policy& source, double alpha);

}  // namespace fulcrum
