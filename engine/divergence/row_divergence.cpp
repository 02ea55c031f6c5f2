#include "engine/divergence/row_divergence.h"

#include <ATen/TensorOperators.h>

namespace fulcrum {
namespace {

// weight * difference with 0 * inf = 0: a token without weight adds nothing.
at::Tensor weighted(const at::Tensor& log_weight_nV, const at::Tensor& difference_nV) {
  at::Tensor weight_nV = log_weight_nV.exp();
  const at::Tensor nothing_nV = weight_nV == 0;
  return weight_nV.mul_(difference_nV).masked_fill_(nothing_nV, 0);
}

}  // namespace

at::Tensor row_divergence(const Divergence& d, const at::Tensor& log_pi_nV, const at::Tensor& log_p_nV) {
  // KL(p || pi) = sum p (log p - log pi), and the other way round.
  if (d.name() == "forward_kl") return weighted(log_p_nV, log_p_nV - log_pi_nV).sum(1, false, at::kDouble);
  if (d.name() == "reverse_kl") return weighted(log_pi_nV, log_pi_nV - log_p_nV).sum(1, false, at::kDouble);
  return d.exact(log_pi_nV.to(at::kDouble), log_p_nV);
}

at::Tensor row_gradient(const Divergence& d, const at::Tensor& log_pi_nV, const at::Tensor& log_p_nV) {
  // f'(u) = -1/u gives pi f' = -p, whose sum is -1.
  if (d.name() == "forward_kl") return log_pi_nV.exp().sub_(log_p_nV.exp());
  at::Tensor slopes_nV = d.name() == "reverse_kl" ? weighted(log_pi_nV, log_pi_nV - log_p_nV)
                                                  : d.exact_gradient(log_pi_nV, log_p_nV);
  const at::Tensor sum_n1 = slopes_nV.sum(1, true, at::kDouble).to(slopes_nV.scalar_type());
  return slopes_nV.sub_(log_pi_nV.exp().to(slopes_nV.scalar_type()).mul_(sum_n1)).to(log_pi_nV.scalar_type());
}

}  // namespace fulcrum
