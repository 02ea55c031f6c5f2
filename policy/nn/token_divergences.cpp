#include "policy/nn/token_divergences.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "policy/nn/divergence_rows.h"

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What autograd cannot keep: passed along as one object.
struct Setting final : torch::CustomClassHolder {
  std::shared_ptr<const Divergence> divergence;
  double temperature = 1;
  int64_t chunk = 1;
  Rounding policy_rounding = Rounding::kNone, reference_rounding = Rounding::kNone;
  HeadMemory* memory = nullptr;  // of the caller, during the forward pass only
};

class ChunkedDivergences : public torch::autograd::Function<ChunkedDivergences> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden_ND, const at::Tensor& weight_VD,
                               const at::Tensor& reference_hidden_NE, const at::Tensor& reference_weight_VE,
                               const at::Tensor& ids_N, const c10::intrusive_ptr<Setting>& setting) {
    const Head policy{hidden_ND, weight_VD, setting->policy_rounding};
    const Head reference{reference_hidden_NE, reference_weight_VE, setting->reference_rounding};
    const at::Tensor logps_N = at::empty({hidden_ND.size(0)}, sums_of(policy));
    const at::Tensor divergence_N = at::empty_like(logps_N), reference_logps_N = at::empty_like(logps_N);
    const at::Tensor lse_N = at::empty_like(logps_N, at::kDouble);
    const at::Tensor reference_lse_N = at::empty_like(lse_N);
    HeadMemory* memory = std::exchange(setting->memory, nullptr);
    at::Tensor buffer = chunk_buffer(policy, setting->chunk, memory != nullptr ? &memory->logits : nullptr);
    at::Tensor reference_buffer =
        chunk_buffer(reference, setting->chunk, memory != nullptr ? &memory->reference_logits : nullptr);
    for_each_chunk(hidden_ND.size(0), setting->chunk, [&](int64_t begin, int64_t n) {
      const auto part = [&](const at::Tensor& x_N) { return x_N.narrow(0, begin, n); };
      at::Tensor z = chunk_logits(policy, setting->temperature, begin, n, buffer);
      at::Tensor r = chunk_logits(reference, setting->temperature, begin, n, reference_buffer);
      divergence_rows(
          *setting->divergence, {z, r, part(ids_N)},
          {part(logps_N), part(lse_N), part(reference_logps_N), part(reference_lse_N), part(divergence_N)});
    });
    ctx->save_for_backward(
        {hidden_ND, weight_VD, reference_hidden_NE, reference_weight_VE, ids_N, lse_N, reference_lse_N});
    ctx->saved_data["setting"] = c10::IValue::make_capsule(setting);
    ctx->saved_data["logits"] = buffer;
    ctx->saved_data["reference_logits"] = reference_buffer;
    save_weight_gradient(*ctx, memory);
    ctx->mark_non_differentiable({reference_logps_N});
    return {logps_N, divergence_N, reference_logps_N};
  }

  // With z the logits over temperature, g = dL / d log pi(id) and h = dL / dD:
  //   dL/dz = g (onehot(id) - pi) + h pi (s - sum pi s),   s = f'(pi / reference)
  // (TDPO, arXiv 2404.11999; for the forward KL the second part is h (pi - reference)).
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &ids_N = saved[4], &lse_N = saved[5], &reference_lse_N = saved[6];
    const auto capsule = ctx->saved_data["setting"].toCapsule();
    const auto& setting = static_cast<const Setting&>(*capsule);
    const Head policy{saved[0], saved[1], setting.policy_rounding};
    const Head reference{saved[2], saved[3], setting.reference_rounding};
    const at::Tensor g_N = grads[0] / setting.temperature, h_N = grads[1] / setting.temperature;
    // Without a gradient into the divergence this is token_logps()'s backward pass, to the bit.
    const bool divergence_counts = (h_N != 0).any().item<bool>();
    WeightGradientOfPass d_weight = weight_gradient(*ctx);
    variable_list out(6);
    if (ctx->needs_input_grad(0)) out[0] = at::empty(policy.hidden_ND.sizes(), sums_of(policy));
    at::Tensor buffer = take_kept(*ctx, "logits"), reference_buffer = take_kept(*ctx, "reference_logits");
    const bool has_last = buffer.defined();
    if (!has_last) {
      buffer = chunk_buffer(policy, setting.chunk);
      reference_buffer = chunk_buffer(reference, setting.chunk);
    }
    const auto logits = [&](const Head& head, int64_t begin, int64_t n, at::Tensor& into, bool kept) {
      return kept ? into.narrow(0, 0, n) : chunk_logits(head, setting.temperature, begin, n, into);
    };
    for_each_chunk_back(
        policy.hidden_ND.size(0), setting.chunk, has_last, [&](int64_t begin, int64_t n, bool kept) {
          const auto part = [&](const at::Tensor& x_N) { return x_N.narrow(0, begin, n); };
          at::Tensor z = logits(policy, begin, n, buffer, kept);
          if (divergence_counts) {
            const at::Tensor r = logits(reference, begin, n, reference_buffer, kept);
            divergence_row_gradients(*setting.divergence, {z, r, part(ids_N)},
                                     {part(lse_N), part(reference_lse_N), part(g_N), part(h_N)});
          } else {
            row_loss_gradients_(z, part(ids_N), part(lse_N), part(g_N));
          }
          const at::Tensor unused_n = (part(g_N) == 0).logical_and_(part(h_N) == 0);
          z.masked_fill_(unused_n.unsqueeze(1), 0);  // whatever stands at masked targets
          if (out[0].defined())
            product_into(out[0].narrow(0, begin, n), z, policy.weight_VD, false, policy.rounding);
          d_weight.add(z, policy.hidden_ND.narrow(0, begin, n), policy.rounding);
        });
    out[1] = d_weight.own_VD;
    return out;
  }
};

}  // namespace

TokenDivergences token_divergences(const Head& policy, const Head& reference, const at::Tensor& ids_N,
                                   std::shared_ptr<const Divergence> divergence, double temperature,
                                   int64_t chunk, HeadMemory* memory) {
  auto setting = c10::make_intrusive<Setting>();
  setting->divergence = std::move(divergence);
  setting->temperature = temperature;
  setting->chunk = chunk;
  setting->memory = memory;
  const at::ScalarType dtype = policy.hidden_ND.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Head mine = computed_in(dtype, policy.hidden_ND, policy.weight_VD);
  const Head theirs = computed_in(dtype, reference.hidden_ND.detach(), reference.weight_VD.detach());
  setting->policy_rounding = mine.rounding;
  setting->reference_rounding = theirs.rounding;
  const variable_list out = ChunkedDivergences::apply(mine.hidden_ND, mine.weight_VD, theirs.hidden_ND,
                                                      theirs.weight_VD, ids_N, setting);
  return {out[0], out[1], out[2]};
}

}  // namespace fulcrum
