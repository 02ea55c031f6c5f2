// Log-probs of chosen tokens and, from the same logits, the exact divergence of the policy's next-token
// distribution from the reference's over the whole vocabulary, without the [N, V] logits of either. Called by
// the learner for objectives that ask for Needs::divergence. Pure, thread-safe.
//
// Memory beside the inputs, the outputs and their gradients: a fixed number of [chunk, V] buffers and [N]
// vectors, in both directions. Logits of all chunks but the last are made again by the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "engine/divergence/divergence.h"
#include "policy/nn/logit_chunks.h"
#include "policy/nn/policy.h"

namespace fulcrum {

struct TokenDivergences {
  at::Tensor logps_N;            // log pi(id), equal to token_logps() to the bit; with gradient
  at::Tensor divergence_N;       // D_f(pi || reference); with gradient to the policy's head only
  at::Tensor reference_logps_N;  // log reference(id), a constant
};

// Both heads in double if the policy's hidden states are, else as token_logps() computes them. Where both
// models give a token no probability (padded vocabularies: logit -inf) it adds nothing; where the policy
// alone gives none, the divergence is what the generator says, infinite for the forward KL.
TokenDivergences token_divergences(const Head& policy, const Head& reference, const at::Tensor& ids_N,
                                   std::shared_ptr<const Divergence> divergence, double temperature,
                                   int64_t chunk, HeadMemory* memory = nullptr);

}  // namespace fulcrum
