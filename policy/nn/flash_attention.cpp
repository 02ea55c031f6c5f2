#include "policy/nn/flash_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logaddexp.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "policy/nn/placed.h"

namespace fulcrum {
namespace {

// One of the two calls: which tokens ask, which are asked, and how both are cut.
struct Call {
  at::Tensor q_nHd, k_mKd, v_mKd;
  const at::Tensor &q_begins, &k_begins;
  int64_t longest_q, longest_k;
  bool causal;
};

struct Answer {
  at::Tensor out_nHd, lse_Hn;
};

Answer attend(const Call& c) {
  auto [out, lse, rng, unused, debug] = at::_flash_attention_forward(
      c.q_nHd, c.k_mKd, c.v_mKd, c.q_begins, c.k_begins, c.longest_q, c.longest_k,
      /*dropout_p=*/0, c.causal, /*return_debug_mask=*/false);
  TORCH_CHECK(lse.dim() == 2 && lse.size(1) == c.q_nHd.size(0),
              "this LibTorch's flash attention gives its log sums in another layout");
  return {std::move(out), std::move(lse)};
}

struct Gradient {
  at::Tensor q_nHd, k_mKd, v_mKd;
};

// `whole`: the output and log sum over everything that a token sees, not this call's part of it alone: then
// the weights that the call makes again are those of the whole softmax, and its part of the gradient right.
Gradient attend_backward(const Call& c, const Answer& whole, const at::Tensor& d_out_nHd) {
  const at::Tensor no_dropout = at::empty({2}, d_out_nHd.options().dtype(at::kUInt64));
  auto [d_q, d_k, d_v] = at::_flash_attention_backward(
      d_out_nHd, c.q_nHd, c.k_mKd, c.v_mKd, whole.out_nHd, whole.lse_Hn, c.q_begins, c.k_begins, c.longest_q,
      c.longest_k, /*dropout_p=*/0, c.causal, no_dropout, at::empty({0}, d_out_nHd.options()));
  return {std::move(d_q), std::move(d_k), std::move(d_v)};
}

struct Parts {
  at::Tensor q_THd, k_TKd, v_TKd;
};
Parts parts(const at::Tensor& qkv_TC, const FlashShape& s) {
  const at::Tensor heads = qkv_TC.view({qkv_TC.size(0), s.heads + 2 * s.kv_heads, s.head_dim});
  return {heads.narrow(1, 0, s.heads), heads.narrow(1, s.heads, s.kv_heads),
          heads.narrow(1, s.heads + s.kv_heads, s.kv_heads)};
}

Call own_call(const Parts& p, const FlashSegments& s) {
  return {p.q_THd, p.k_TKd, p.v_TKd, s.own_begins, s.own_begins, s.longest_own, s.longest_own, true};
}
Call prompt_call(const Parts& p, const FlashSegments& s) {
  return {p.q_THd.index_select(0, s.completion_tokens),
          p.k_TKd.index_select(0, s.prompt_tokens),
          p.v_TKd.index_select(0, s.prompt_tokens),
          s.completion_begins,
          s.prompt_begins,
          s.longest_completions,
          s.longest_prompt,
          false};
}

// Adds what a call over chosen tokens gave them.
void add_at(const at::Tensor& into_TC, const at::Tensor& tokens, const at::Tensor& x) {
  into_TC.index_copy_(0, tokens, into_TC.index_select(0, tokens).add_(x));
}

}  // namespace

bool flash_takes(const ModelSpec& spec, at::Device device) {
  const auto op = c10::Dispatcher::singleton().findSchema({"aten::_flash_attention_forward", ""});
  const bool there = op && op->hasKernelForDispatchKey(c10::backendToDispatchKey(
                               device.is_cuda() ? c10::Backend::CUDA : c10::Backend::PrivateUse1));
  return there && spec.head_dim % 8 == 0 && spec.head_dim <= 256 &&
         spec.num_attention_heads % spec.num_key_value_heads == 0;
}

FlashSegments::FlashSegments(const TrainBatch& batch, at::Device device) {
  std::vector<int32_t> own = {0}, completions = {0}, prompts = {0};
  std::vector<int64_t> completion_places, prompt_places;
  const auto add_own = [&](int64_t begin, int64_t end) {
    TORCH_CHECK(own.back() == begin, "a batch's prompts and completions do not lie side by side");
    if (end == begin) return;
    own.push_back(static_cast<int32_t>(end));
    longest_own = std::max(longest_own, end - begin);
  };
  const auto places = [](std::vector<int64_t>& into, int64_t begin, int64_t end) {
    into.resize(into.size() + static_cast<size_t>(end - begin));
    std::iota(into.end() - (end - begin), into.end(), begin);
  };
  for (const BatchGroup& g : batch.groups) {
    add_own(g.prompt_begin, g.prompt_end);
    places(prompt_places, g.prompt_begin, g.prompt_end);
    for (int64_t r = g.row_begin; r < g.row_end; ++r) {
      const BatchRow& row = batch.rows[static_cast<size_t>(r)];
      add_own(row.token_begin, row.token_end);
      places(completion_places, row.token_begin, row.token_end);
    }
    completions.push_back(static_cast<int32_t>(completion_places.size()));
    prompts.push_back(static_cast<int32_t>(prompt_places.size()));
    longest_prompt = std::max(longest_prompt, g.prompt_end - g.prompt_begin);
    longest_completions = std::max<int64_t>(longest_completions, completions.back() - completions.end()[-2]);
  }
  // A bound of 1 would send LibTorch its own way for single tokens, which wants one of every group.
  if (longest_completions > 0) longest_completions = std::max<int64_t>(longest_completions, 2);
  own_begins = placed(own, device);
  completion_begins = placed(completions, device);
  prompt_begins = placed(prompts, device);
  completion_tokens = placed(completion_places, device);
  prompt_tokens = placed(prompt_places, device);
}

FlashOutput flash_forward(const at::Tensor& qkv_TC, const FlashSegments& segments, const FlashShape& shape) {
  const Parts p = parts(qkv_TC, shape);
  Answer own = attend(own_call(p, segments));
  if (segments.longest_completions > 0) {
    const at::Tensor& tokens = segments.completion_tokens;
    const Answer prompt = attend(prompt_call(p, segments));
    const at::Tensor mine_Hn = own.lse_Hn.index_select(1, tokens);
    const at::Tensor lse_Hn = at::logaddexp(mine_Hn, prompt.lse_Hn);
    const auto share = [&](const at::Tensor& part_Hn) { return (part_Hn - lse_Hn).exp_().t().unsqueeze(2); };
    const at::Tensor merged_nHd =
        own.out_nHd.index_select(0, tokens) * share(mine_Hn) + prompt.out_nHd * share(prompt.lse_Hn);
    own.out_nHd.index_copy_(0, tokens, merged_nHd.to(own.out_nHd.scalar_type()));
    own.lse_Hn.index_copy_(1, tokens, lse_Hn);
  }
  return {own.out_nHd.reshape({qkv_TC.size(0), shape.heads * shape.head_dim}), own.lse_Hn};
}

at::Tensor flash_backward(const at::Tensor& qkv_TC, const FlashOutput& forward, const at::Tensor& d_out_TC,
                          const FlashSegments& segments, const FlashShape& shape) {
  const int64_t tokens = qkv_TC.size(0);
  const Parts p = parts(qkv_TC, shape);
  const auto by_head = [&](const at::Tensor& x_TC) {
    return x_TC.view({tokens, shape.heads, shape.head_dim});
  };
  const at::Tensor d_out_THd = by_head(d_out_TC);
  const Answer whole{by_head(forward.out_TC), forward.lse_HT};
  const Gradient own = attend_backward(own_call(p, segments), whole, d_out_THd);
  const at::Tensor d_qkv_TXd =
      at::cat({own.q_nHd, own.k_mKd, own.v_mKd}, 1).to(at::kFloat);  // [T, heads + 2 kv_heads, head_dim]
  if (segments.longest_completions > 0) {
    const at::Tensor& places = segments.completion_tokens;
    const Gradient prompt =
        attend_backward(prompt_call(p, segments),
                        {whole.out_nHd.index_select(0, places), whole.lse_Hn.index_select(1, places)},
                        d_out_THd.index_select(0, places));
    add_at(d_qkv_TXd.narrow(1, 0, shape.heads), places, prompt.q_nHd);
    add_at(d_qkv_TXd.narrow(1, shape.heads, 2 * shape.kv_heads), segments.prompt_tokens,
           at::cat({prompt.k_mKd, prompt.v_mKd}, 1));
  }
  return d_qkv_TXd.view({tokens, -1});
}

}  // namespace fulcrum
