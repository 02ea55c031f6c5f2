#include "policy/nn/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <tuple>

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of a [T, columns] tensor as one block: [segments, heads, length, head_dim].
at::Tensor heads_of(const at::Tensor& rows_SC, const TokenBlock& block, int64_t head_dim) {
  return rows_SC.view({block.segments, block.length, rows_SC.size(1) / head_dim, head_dim}).transpose(1, 2);
}

// And back: [segments * length, columns].
at::Tensor rows_of(const at::Tensor& heads_BHLD) {
  const at::Tensor x = heads_BHLD.transpose(1, 2);
  return x.reshape({x.size(0) * x.size(1), x.size(2) * x.size(3)});
}

// Grouped-query attention: each key-value head once for every query head that reads it.
at::Tensor repeat_heads(const at::Tensor& x_BHLD, const AttentionShape& s) {
  const int64_t times = s.heads / s.kv_heads;
  if (times == 1) return x_BHLD;
  return x_BHLD.unsqueeze(2)
      .expand({-1, -1, times, -1, -1})
      .reshape({x_BHLD.size(0), s.heads, x_BHLD.size(2), s.head_dim});
}

at::Tensor sum_repeated(const at::Tensor& x_BHLD, const AttentionShape& s) {
  const int64_t times = s.heads / s.kv_heads;
  if (times == 1) return x_BHLD;
  return x_BHLD.reshape({x_BHLD.size(0), s.kv_heads, times, x_BHLD.size(2), s.head_dim}).sum(2);
}

at::Tensor take(const std::vector<at::Tensor>& blocks, const TokenSlots& slots) {
  return (blocks.size() == 1 ? blocks[0] : at::cat(blocks)).index_select(0, slots.slot_T);
}

// One block's operands, gathered from the packed (rotated) q, k, v.
struct Operands {
  at::Tensor q, k, v;  // [segments, heads, length, head_dim]
  std::optional<at::Tensor> mask;
  bool causal = false;

  static Operands of(const at::Tensor& qkv_TC, const TokenBlock& block, const AttentionShape& s) {
    const at::Tensor rows = qkv_TC.index_select(0, block.token_S);
    const at::Tensor all = heads_of(rows, block, s.head_dim);
    return {all.narrow(1, 0, s.heads), repeat_heads(all.narrow(1, s.heads, s.kv_heads), s),
            repeat_heads(all.narrow(1, s.heads + s.kv_heads, s.kv_heads), s), std::nullopt, true};
  }
  static Operands of(const at::Tensor& qkv_TC, const CrossBlock& block, const AttentionShape& s) {
    const at::Tensor q = qkv_TC.narrow(1, 0, s.query_columns()).index_select(0, block.queries.token_S);
    const at::Tensor kv =
        qkv_TC.narrow(1, s.query_columns(), 2 * s.kv_columns()).index_select(0, block.keys.token_S);
    const at::Tensor both = heads_of(kv, block.keys, s.head_dim);
    Operands out{heads_of(q, block.queries, s.head_dim), repeat_heads(both.narrow(1, 0, s.kv_heads), s),
                 repeat_heads(both.narrow(1, s.kv_heads, s.kv_heads), s), std::nullopt, false};
    if (block.key_mask.defined()) out.mask = block.key_mask.to(q.scalar_type());
    return out;
  }
};

// The results of a list of blocks, slot by slot.
struct Attended {
  std::vector<at::Tensor> out_SC, lse_SH;

  void add(const Operands& x) {
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(x.q, x.k, x.v, 0.0, x.causal, x.mask);
    out_SC.push_back(rows_of(out));
    lse_SH.push_back(lse.transpose(1, 2).reshape({-1, x.q.size(1)}));
  }
};

// What the backward pass of a block needs of the merged result, gathered to its query slots.
struct Upstream {
  at::Tensor d_out, out, lse;

  static Upstream of(const at::Tensor& d_out_TC, const at::Tensor& out_TC, const at::Tensor& lse_TH,
                     const TokenBlock& queries, int64_t head_dim) {
    at::Tensor d_rows = d_out_TC.index_select(0, queries.token_S);
    if (queries.padding_S.numel() > 0) d_rows.index_fill_(0, queries.padding_S, 0);
    const at::Tensor lse =
        lse_TH.index_select(0, queries.token_S).view({queries.segments, queries.length, -1});
    return {heads_of(d_rows, queries, head_dim),
            heads_of(out_TC.index_select(0, queries.token_S), queries, head_dim), lse.transpose(1, 2)};
  }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor> attend_backward(const Operands& x, const Upstream& up) {
  return at::_scaled_dot_product_flash_attention_for_cpu_backward(up.d_out, x.q, x.k, x.v, up.out, up.lse,
                                                                  0.0, x.causal, x.mask);
}

// softmax over two sets of keys from the softmax over each: weights exp(lse) (Dao et al., "FlashAttention",
// 2022, §3.1).
std::pair<at::Tensor, at::Tensor> merge(const at::Tensor& self_TC, const at::Tensor& self_lse_TH,
                                        const Attended& cross, const AttentionPlan& plan,
                                        const AttentionShape& s) {
  const at::Tensor cross_TC = take(cross.out_SC, plan.query_slots);
  const at::Tensor cross_lse_TH = take(cross.lse_SH, plan.query_slots);
  at::Tensor share_TH = at::sigmoid(cross_lse_TH - self_lse_TH);
  at::Tensor lse_TH = at::logaddexp(self_lse_TH, cross_lse_TH);
  if (plan.query_slots.present_T1.defined()) {  // prompt tokens have no other keys
    share_TH.mul_(plan.query_slots.present_T1);
    lse_TH = at::where(plan.query_slots.present_T1 > 0, lse_TH, self_lse_TH);
  }
  const auto per_head = [&](const at::Tensor& x) { return x.view({x.size(0), s.heads, s.head_dim}); };
  const at::Tensor share = share_TH.unsqueeze(2).to(self_TC.scalar_type());
  at::Tensor out = at::lerp(per_head(self_TC), per_head(cross_TC), share);
  return {out.view({self_TC.size(0), s.query_columns()}), lse_TH};
}

struct Context final : torch::CustomClassHolder {
  explicit Context(AttentionContext c) : value(std::move(c)) {}
  AttentionContext value;
};

class SharedPromptAttention : public torch::autograd::Function<SharedPromptAttention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv_TC, const AttentionContext& c) {
    const AttentionShape& s = c.shape;
    const at::Tensor rotated_TC = rotate_heads(qkv_TC, c.rope, s.heads + s.kv_heads, false);
    Attended self, cross;
    for (const TokenBlock& block : c.plan->self) self.add(Operands::of(rotated_TC, block, s));
    for (const CrossBlock& block : c.plan->cross) cross.add(Operands::of(rotated_TC, block, s));
    at::Tensor out_TC = take(self.out_SC, c.plan->self_slots);
    at::Tensor lse_TH = take(self.lse_SH, c.plan->self_slots);
    if (!cross.out_SC.empty()) std::tie(out_TC, lse_TH) = merge(out_TC, lse_TH, cross, *c.plan, s);
    ctx->save_for_backward({rotated_TC, out_TC, lse_TH});
    ctx->saved_data["context"] = c10::IValue::make_capsule(c10::make_intrusive<Context>(c));
    return out_TC;
  }

  // Each block's gradient with the merged output and log-sum-exp in place of its own, which is the chain rule
  // through the merge: P = exp(score - lse), dS = P (dP - sum(dO O)).
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &rotated_TC = saved[0], &out_TC = saved[1], &lse_TH = saved[2];
    const auto capsule = ctx->saved_data["context"].toCapsule();
    const AttentionContext& c = static_cast<const Context&>(*capsule).value;
    const AttentionShape& s = c.shape;
    const at::Tensor d_out_TC = grads[0].contiguous();
    std::vector<at::Tensor> d_self;
    for (const TokenBlock& block : c.plan->self) {
      const auto [dq, dk, dv] = attend_backward(Operands::of(rotated_TC, block, s),
                                                Upstream::of(d_out_TC, out_TC, lse_TH, block, s.head_dim));
      d_self.push_back(at::cat({rows_of(dq), rows_of(sum_repeated(dk, s)), rows_of(sum_repeated(dv, s))}, 1));
    }
    at::Tensor d_qkv_TC = take(d_self, c.plan->self_slots);
    add_cross(d_qkv_TC, rotated_TC, d_out_TC, out_TC, lse_TH, c);
    return {rotate_heads(d_qkv_TC, c.rope, s.heads + s.kv_heads, true), at::Tensor()};
  }

 private:
  static void add_cross(at::Tensor& d_qkv_TC, const at::Tensor& rotated_TC, const at::Tensor& d_out_TC,
                        const at::Tensor& out_TC, const at::Tensor& lse_TH, const AttentionContext& c) {
    if (c.plan->cross.empty()) return;
    const AttentionShape& s = c.shape;
    std::vector<at::Tensor> d_q, d_kv;
    for (const CrossBlock& block : c.plan->cross) {
      const auto [dq, dk, dv] =
          attend_backward(Operands::of(rotated_TC, block, s),
                          Upstream::of(d_out_TC, out_TC, lse_TH, block.queries, s.head_dim));
      d_q.push_back(rows_of(dq));
      d_kv.push_back(at::cat({rows_of(sum_repeated(dk, s)), rows_of(sum_repeated(dv, s))}, 1));
    }
    const auto add = [](at::Tensor into, const at::Tensor& rows, const at::Tensor& present_T1) {
      if (present_T1.defined()) {
        into.addcmul_(rows, present_T1.to(rows.scalar_type()));
      } else {
        into.add_(rows);
      }
    };
    add(d_qkv_TC.narrow(1, 0, s.query_columns()), take(d_q, c.plan->query_slots),
        c.plan->query_slots.present_T1);
    add(d_qkv_TC.narrow(1, s.query_columns(), 2 * s.kv_columns()), take(d_kv, c.plan->key_slots),
        c.plan->key_slots.present_T1);
  }
};

}  // namespace

at::Tensor shared_prompt_attention(const at::Tensor& qkv_TC, const AttentionContext& context) {
  return SharedPromptAttention::apply(qkv_TC, context);
}

}  // namespace fulcrum
