#include "policy/nn/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cmath>

#include "policy/nn/parallel.h"
#include "policy/weights/rope_frequencies.h"

namespace fulcrum {

AttentionContext::AttentionContext(const ModelSpec& spec, const TrainBatch& batch)
    : heads_(spec.num_attention_heads),
      kv_heads_(spec.num_key_value_heads),
      head_dim_(spec.head_dim),
      tokens_(batch.num_tokens()) {
  for (const BatchGroup& g : batch.groups) groups_.push_back({{g.prompt_begin, g.prompt_end}});
  for (const BatchRow& row : batch.rows) {
    if (row.token_begin != row.token_end)
      groups_[static_cast<size_t>(row.group)].push_back({row.token_begin, row.token_end});
  }
  const std::vector<double> frequencies = rope_frequencies(spec);
  cosines_.reserve(batch.positions.size() * frequencies.size());
  sines_.reserve(batch.positions.size() * frequencies.size());
  for (const int64_t position : batch.positions) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      cosines_.push_back(static_cast<float>(std::cos(angle)));
      sines_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

kernels::PackedRows AttentionContext::rows(const at::Tensor& qkv_TC) const {
  return {heads_, kv_heads_, head_dim_, qkv_TC.const_data_ptr<float>(), cosines_.data(), sines_.data()};
}

template <class F>
void AttentionContext::for_each(F work) const {
  parallel_for(static_cast<int64_t>(groups_.size()) * kv_heads_,
               [&](int64_t i) { work(groups_[static_cast<size_t>(i / kv_heads_)], i % kv_heads_); });
}

AttentionContext::Output AttentionContext::forward(const at::Tensor& qkv_TC) const {
  Output out{at::empty({tokens_, heads_ * head_dim_}, qkv_TC.options()),
             at::empty({tokens_, heads_}, qkv_TC.options())};
  const kernels::PackedRows in = rows(qkv_TC);
  float* to = out.out_TC.mutable_data_ptr<float>();
  float* lse = out.lse_TH.mutable_data_ptr<float>();
  for_each([&](const auto& group, int64_t kv_head) { packed_attention(in, group, kv_head, to, lse); });
  return out;
}

at::Tensor AttentionContext::backward(const at::Tensor& qkv_TC, const Output& forward,
                                      const at::Tensor& d_out_TC) const {
  at::Tensor d_qkv_TC = at::empty_like(qkv_TC);
  const kernels::PackedRows in = rows(qkv_TC);
  const kernels::PackedGradient gradient{
      forward.out_TC.const_data_ptr<float>(), forward.lse_TH.const_data_ptr<float>(),
      d_out_TC.const_data_ptr<float>(), d_qkv_TC.mutable_data_ptr<float>()};
  for_each(
      [&](const auto& group, int64_t kv_head) { packed_attention_backward(in, group, kv_head, gradient); });
  return d_qkv_TC;
}

}  // namespace fulcrum
