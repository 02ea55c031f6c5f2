// Log-probs of chosen tokens without the [N, V] logits (policy/nn/policy.h). The head is always computed in
// fp32.
//
// Memory beside the inputs, the outputs and their gradients: one [chunk, V] buffer (two while the entropy is
// asked for) and two [N] vectors, in both directions. Work: 2 NDV forward, 6 NDV backward (the logits are
// computed again).
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/nn/logit_chunks.h"
#include "policy/nn/policy.h"

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class TokenLogps : public torch::autograd::Function<TokenLogps> {
 public:
  // With z the logits and m their maximum:  log p(id) = (z_id - m) - log sum exp(z - m);
  // entropy = log sum exp(z - m) - sum exp(z - m) (z - m) / sum exp(z - m).
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden_ND, const at::Tensor& weight_VD,
                            const at::Tensor& ids_N, double temperature, int64_t chunk,
                            at::Tensor* entropy_N) {
    const at::Tensor logps_N = at::empty({hidden_ND.size(0)}, hidden_ND.options());
    const at::Tensor lse_N = at::empty_like(logps_N);
    if (entropy_N != nullptr) *entropy_N = at::empty_like(logps_N);
    const Head head{hidden_ND, weight_VD};
    at::Tensor buffer = chunk_buffer(head, chunk);
    for_each_chunk(hidden_ND.size(0), chunk, [&](int64_t begin, int64_t n) {
      at::Tensor z = chunk_logits(head, temperature, begin, n, buffer);
      const at::Tensor max_n1 = z.amax({1}, true);
      z.sub_(max_n1);
      const at::Tensor chosen_n = z.gather(1, ids_N.narrow(0, begin, n).unsqueeze(1)).squeeze(1);
      const at::Tensor exps = entropy_N != nullptr ? z.exp() : z.exp_();
      const at::Tensor sum_n = exps.sum(1);
      const at::Tensor log_sum_n = sum_n.log();
      logps_N.narrow(0, begin, n).copy_(chosen_n - log_sum_n);
      lse_N.narrow(0, begin, n).copy_(max_n1.squeeze(1) + log_sum_n);
      if (entropy_N != nullptr) {
        entropy_N->narrow(0, begin, n).copy_(log_sum_n - z.mul_(exps).sum(1).div_(sum_n));
      }
    });
    ctx->save_for_backward({hidden_ND, weight_VD, ids_N, lse_N});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["chunk"] = chunk;
    return logps_N;
  }

  // d log p(id) / dz = (onehot(id) - p) / temperature.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden_ND = saved[0], &weight_VD = saved[1], &ids_N = saved[2], &lse_N = saved[3];
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const int64_t chunk = ctx->saved_data["chunk"].toInt();
    const at::Tensor scaled_N = grads[0] / temperature;
    variable_list out(6);
    if (ctx->needs_input_grad(0)) out[0] = at::empty_like(hidden_ND);
    if (ctx->needs_input_grad(1)) out[1] = at::zeros_like(weight_VD);
    const Head head{hidden_ND, weight_VD};
    at::Tensor buffer = chunk_buffer(head, chunk);
    for_each_chunk(hidden_ND.size(0), chunk, [&](int64_t begin, int64_t n) {
      at::Tensor z = chunk_logits(head, temperature, begin, n, buffer);
      const at::Tensor scaled_n1 = scaled_N.narrow(0, begin, n).unsqueeze(1);
      z.sub_(lse_N.narrow(0, begin, n).unsqueeze(1)).exp_().mul_(scaled_n1.neg());
      z.scatter_add_(1, ids_N.narrow(0, begin, n).unsqueeze(1), scaled_n1);
      if (out[0].defined()) {
        at::Tensor rows = out[0].narrow(0, begin, n);
        at::mm_out(rows, z, weight_VD);
      }
      if (out[1].defined()) out[1].addmm_(z.t(), hidden_ND.narrow(0, begin, n));
    });
    return out;
  }
};

}  // namespace

at::Tensor token_logps(const at::Tensor& hidden_ND, const at::Tensor& weight_VD, const at::Tensor& ids_N,
                       double temperature, int64_t chunk, at::Tensor* entropy_N) {
  return TokenLogps::apply(hidden_ND.to(at::kFloat), weight_VD.to(at::kFloat), ids_N, temperature, chunk,
                           entropy_N);
}

}  // namespace fulcrum
