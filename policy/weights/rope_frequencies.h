// The angular frequencies of rotary embeddings: one formula for the model that generates and the model that
// learns. Called by policy/decode and policy/nn. Pure function, thread-safe.
#pragma once

#include <vector>

#include "policy/weights/model_spec.h"

namespace fulcrum {

// head_dim / 2 of them, theta^(-2i / head_dim) (Su et al., "RoFormer", 2021, eq. 15), slowed down as
// Llama 3.1 does where the spec has rope_scaling.
std::vector<double> rope_frequencies(const ModelSpec& spec);

}  // namespace fulcrum
