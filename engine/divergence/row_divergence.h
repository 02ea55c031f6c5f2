// The exact divergence of every row of log-probabilities, for heads that walk a large vocabulary in chunks:
// values, and the gradient at the logits. Called by policy/nn. Pure, thread-safe; no autograd.
//
// The two KL divergences are tensor operations (vectorised); every other generator goes through the table's
// exact terms, element by element in double.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/divergence/divergence.h"

namespace fulcrum {

// D_f(pi || p) of each row, [n] in double, as Divergence::exact().
at::Tensor row_divergence(const Divergence& d, const at::Tensor& log_pi_nV, const at::Tensor& log_p_nV);

// dD/dz of the logits z behind log_pi, [n, V] in the type of log_pi: pi (f'(u) - sum pi f'(u)), u = pi/p.
at::Tensor row_gradient(const Divergence& d, const at::Tensor& log_pi_nV, const at::Tensor& log_p_nV);

}  // namespace fulcrum
