// Causal attention over packed tokens with shared prompts, with its gradient, on fp32 rows. Called by
// layer.cpp. Not differentiable by itself: the layer has its own backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "engine/kernels/packed_attention/op.h"
#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// What every layer of a forward pass shares: where the groups lie and the rotary angles of each token
// (computed in double, kept in fp32). Immutable once built.
class AttentionContext {
 public:
  AttentionContext(const ModelSpec& spec, const TrainBatch& batch);

  struct Output {
    at::Tensor out_TC;  // [T, heads head_dim]
    at::Tensor lse_TH;  // [T, heads], for backward()
  };
  // qkv_TC: [T, (heads + 2 kv_heads) head_dim] before rotation, in the order q, k, v.
  Output forward(const at::Tensor& qkv_TC) const;
  at::Tensor backward(const at::Tensor& qkv_TC, const Output& forward, const at::Tensor& d_out_TC) const;

 private:
  kernels::PackedRows rows(const at::Tensor& qkv_TC) const;
  // work(group, key head) for all of them.
  template <class F>
  void for_each(F work) const;

  int64_t heads_, kv_heads_, head_dim_, tokens_;
  std::vector<std::vector<kernels::TokenRange>> groups_;
  std::vector<float> cosines_, sines_;  // [T, head_dim / 2]
};

}  // namespace fulcrum
