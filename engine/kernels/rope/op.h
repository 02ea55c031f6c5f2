// Rotary position embedding (Su et al., "RoFormer", 2021, eq. 34) in the halves layout of Hugging Face
// checkpoints: pair i is (x[i], x[i + head_dim/2]). Called by policy/decode. Pure, thread-safe.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// Rotates `heads` heads of `head_dim` floats, one after another, in place. cosines and sines: head_dim / 2
// each, of the position's angles.
void rope_row(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines);

namespace reference {
void rope_row(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines);
}  // namespace reference

}  // namespace fulcrum::kernels
