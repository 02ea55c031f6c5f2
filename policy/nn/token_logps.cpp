// Log-probs of chosen tokens without the [N, V] logits (policy/nn/policy.h). Logits, and all sums, are fp32.
//
// Memory beside the inputs, the outputs and their gradients: one [chunk, V] buffer and two [N] vectors, in
// both directions; the buffer lives from one to the other. Work: 2 NDV forward, 4 NDV backward, and 2 NDV
// again for all chunks but the last, whose logits are still there: none where N fits the chunk.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/nn/logit_chunks.h"
#include "policy/nn/logit_rows.h"
#include "policy/nn/policy.h"

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class TokenLogps : public torch::autograd::Function<TokenLogps> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden_ND, const at::Tensor& weight_VD,
                            bool bf16, const at::Tensor& ids_N, double temperature, int64_t chunk,
                            at::Tensor* entropy_N, HeadMemory* memory) {
    const Head head{hidden_ND, weight_VD, bf16 ? Rounding::kBf16 : Rounding::kNone};
    const at::Tensor logps_N = at::empty({hidden_ND.size(0)}, sums_of(head));
    const at::Tensor lse_N = at::empty_like(logps_N, at::kDouble);
    if (entropy_N != nullptr) *entropy_N = at::empty_like(logps_N);
    at::Tensor buffer = chunk_buffer(head, chunk, memory != nullptr ? &memory->logits : nullptr);
    for_each_chunk(hidden_ND.size(0), chunk, [&](int64_t begin, int64_t n) {
      const auto part = [&](const at::Tensor& x_N) { return x_N.narrow(0, begin, n); };
      row_losses({chunk_logits(head, 1, begin, n, buffer), part(ids_N), temperature},
                 {part(logps_N), part(lse_N), entropy_N != nullptr ? part(*entropy_N) : at::Tensor()});
    });
    ctx->save_for_backward({hidden_ND, weight_VD, ids_N, lse_N});
    ctx->saved_data["bf16"] = bf16;
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["chunk"] = chunk;
    ctx->saved_data["logits"] = buffer;
    save_weight_gradient(*ctx, memory);
    return logps_N;
  }

  // d log p(id) / dz = (onehot(id) - p) / temperature.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden_ND = saved[0], &weight_VD = saved[1], &ids_N = saved[2], &lse_N = saved[3];
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const int64_t chunk = ctx->saved_data["chunk"].toInt();
    const at::Tensor d_logps_N = grads[0].contiguous();
    const Rounding rounding = ctx->saved_data["bf16"].toBool() ? Rounding::kBf16 : Rounding::kNone;
    const Head head{hidden_ND, weight_VD, rounding};
    WeightGradientOfPass d_weight = weight_gradient(*ctx);
    variable_list out(8);
    if (ctx->needs_input_grad(0)) out[0] = at::empty(hidden_ND.sizes(), sums_of(head));
    at::Tensor buffer = take_kept(*ctx, "logits");
    const bool has_last = buffer.defined();
    if (!has_last) buffer = chunk_buffer(head, chunk);
    for_each_chunk_back(hidden_ND.size(0), chunk, has_last, [&](int64_t begin, int64_t n, bool kept) {
      const at::Tensor z = kept ? buffer.narrow(0, 0, n) : chunk_logits(head, 1, begin, n, buffer);
      row_loss_gradients({z, ids_N.narrow(0, begin, n), temperature}, lse_N.narrow(0, begin, n),
                         d_logps_N.narrow(0, begin, n));
      if (out[0].defined()) product_into(out[0].narrow(0, begin, n), z, weight_VD, false, rounding);
      d_weight.add(z, hidden_ND.narrow(0, begin, n), rounding);
    });
    out[1] = d_weight.own_VD;
    return out;
  }
};

}  // namespace

at::Tensor token_logps(const at::Tensor& hidden_ND, const at::Tensor& weight_VD, const at::Tensor& ids_N,
                       double temperature, int64_t chunk, at::Tensor* entropy_N, HeadMemory* memory) {
  const Head head = computed_in(at::kFloat, hidden_ND, weight_VD);
  return TokenLogps::apply(head.hidden_ND, head.weight_VD, head.rounding == Rounding::kBf16, ids_N,
                           temperature, chunk, entropy_N, memory);
}

}  // namespace fulcrum
