#include "policy/nn/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/kernels/packed_attention/op.h"
#include "policy/nn/device_attention.h"
#include "policy/nn/parallel.h"
#include "policy/weights/rope_frequencies.h"

namespace fulcrum {
namespace {

class CpuAttention final : public AttentionContext {
 public:
  CpuAttention(const ModelSpec& spec, const TrainBatch& batch)
      : heads_(spec.num_attention_heads),
        kv_heads_(spec.num_key_value_heads),
        head_dim_(spec.head_dim),
        tokens_(batch.num_tokens()),
        angles_(rotary_angles(spec, batch)) {
    for (const BatchGroup& g : batch.groups) groups_.push_back({{g.prompt_begin, g.prompt_end}});
    for (const BatchRow& row : batch.rows) {
      if (row.token_begin != row.token_end)
        groups_[static_cast<size_t>(row.group)].push_back({row.token_begin, row.token_end});
    }
  }

  Output forward(const at::Tensor& qkv_TC) const override {
    Output out{at::empty({tokens_, heads_ * head_dim_}, qkv_TC.options()),
               at::empty({tokens_, heads_}, qkv_TC.options())};
    const kernels::PackedRows in = rows(qkv_TC);
    float* to = out.out_TC.mutable_data_ptr<float>();
    float* lse = out.lse_TH.mutable_data_ptr<float>();
    for_each([&](const auto& group, int64_t kv_head) { packed_attention(in, group, kv_head, to, lse); });
    return out;
  }

  at::Tensor backward(const at::Tensor& qkv_TC, const Output& forward,
                      const at::Tensor& d_out_TC) const override {
    at::Tensor d_qkv_TC = at::empty_like(qkv_TC);
    const kernels::PackedRows in = rows(qkv_TC);
    const kernels::PackedGradient gradient{
        forward.out_TC.const_data_ptr<float>(), forward.lse_TH.const_data_ptr<float>(),
        d_out_TC.const_data_ptr<float>(), d_qkv_TC.mutable_data_ptr<float>()};
    for_each(
        [&](const auto& group, int64_t kv_head) { packed_attention_backward(in, group, kv_head, gradient); });
    return d_qkv_TC;
  }

 private:
  kernels::PackedRows rows(const at::Tensor& qkv_TC) const {
    return {heads_,
            kv_heads_,
            head_dim_,
            qkv_TC.const_data_ptr<float>(),
            angles_.cosines.data(),
            angles_.sines.data()};
  }
  // work(group, key head) for all of them.
  template <class F>
  void for_each(F work) const {
    parallel_for(static_cast<int64_t>(groups_.size()) * kv_heads_,
                 [&](int64_t i) { work(groups_[static_cast<size_t>(i / kv_heads_)], i % kv_heads_); });
  }

  int64_t heads_, kv_heads_, head_dim_, tokens_;
  std::vector<std::vector<kernels::TokenRange>> groups_;
  RotaryAngles angles_;
};

}  // namespace

// A table of positions first: the rows of a batch go through the same ones.
RotaryAngles rotary_angles(const ModelSpec& spec, const TrainBatch& batch) {
  const std::vector<double> frequencies = rope_frequencies(spec);
  const auto half = static_cast<int64_t>(frequencies.size());
  const int64_t positions =
      batch.positions.empty() ? 0 : *std::max_element(batch.positions.begin(), batch.positions.end()) + 1;
  RotaryAngles table, out;
  for (int64_t position = 0; position < positions; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      table.cosines.push_back(static_cast<float>(std::cos(angle)));
      table.sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  for (const auto& [from, to] : {std::pair(&table.cosines, &out.cosines), {&table.sines, &out.sines}}) {
    to->reserve(batch.positions.size() * frequencies.size());
    for (const int64_t position : batch.positions)
      to->insert(to->end(), from->begin() + position * half, from->begin() + (position + 1) * half);
  }
  return out;
}

std::shared_ptr<const AttentionContext> attention_context(const ModelSpec& spec, const TrainBatch& batch,
                                                          at::Device device, at::ScalarType dtype) {
  if (!device.is_cpu()) return device_attention(spec, batch, device, dtype);
  return std::make_shared<CpuAttention>(spec, batch);
}

}  // namespace fulcrum
