// Causal attention over packed tokens with shared prompts, with its gradient. Called by llama.cpp for each
// layer.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/nn/attention_plan.h"
#include "policy/nn/rope.h"

namespace fulcrum {

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t query_columns() const { return heads * head_dim; }
  int64_t kv_columns() const { return kv_heads * head_dim; }
};

// What every layer of a forward pass shares.
struct AttentionContext {
  AttentionShape shape;
  RopeTable rope;
  c10::intrusive_ptr<AttentionPlan> plan;
};

// qkv [T, (heads + 2 kv_heads) head_dim], before rotation, in the order q, k, v -> [T, heads head_dim].
at::Tensor shared_prompt_attention(const at::Tensor& qkv_TC, const AttentionContext& context);

}  // namespace fulcrum
