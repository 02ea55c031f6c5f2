// Rotary position embedding, halves layout (Su et al., "RoFormer", 2021, eq. 34; Hugging Face's order of the
// pairs). Used by attention.cpp. Pure functions.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "policy/weights/model_spec.h"

namespace fulcrum {

// Angles of a batch: computed in double, kept in fp32.
struct RopeTable {
  at::Tensor cos_T1D, sin_T1D;  // [T, 1, head_dim / 2]
};
RopeTable make_rope_table(const ModelSpec& spec, const std::vector<int64_t>& positions);

// A copy of x [T, C] whose first `heads` heads are rotated and whose other columns are as they were.
// `inverse`: by minus the angle, which is the gradient of the rotation.
at::Tensor rotate_heads(const at::Tensor& x_TC, const RopeTable& table, int64_t heads, bool inverse);

}  // namespace fulcrum
