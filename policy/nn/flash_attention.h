// The one place that calls LibTorch's flash attention over packed sequences (its signature is LibTorch
// 2.11's). Called by device_attention.cpp. bf16 in and out; no autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

struct FlashShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
};

// Whether it can be called for a model's heads on a device.
bool flash_takes(const ModelSpec& spec, at::Device device);

// A batch as the two calls see it. Lengths are counted on the host: nothing waits for the device.
struct FlashSegments {
  FlashSegments(const TrainBatch& batch, at::Device device);

  // Every prompt and every completion over itself.
  at::Tensor own_begins;  // int32 [segments + 1]
  int64_t longest_own = 0;
  // The completions of each group, side by side, over the group's prompt; none of them: empty.
  at::Tensor completion_tokens, prompt_tokens;  // int64: where they stand in the batch
  at::Tensor completion_begins, prompt_begins;  // int32 [groups + 1]
  int64_t longest_completions = 0, longest_prompt = 0;
};

struct FlashOutput {
  at::Tensor out_TC;  // [T, heads head_dim]
  at::Tensor lse_HT;  // fp32 [heads, T]: log sum exp of a token's scores
};

// qkv_TC: rotated.
FlashOutput flash_forward(const at::Tensor& qkv_TC, const FlashSegments& segments, const FlashShape& shape);
// The gradient of the rotated qkv, in fp32.
at::Tensor flash_backward(const at::Tensor& qkv_TC, const FlashOutput& forward, const at::Tensor& d_out_TC,
                          const FlashSegments& segments, const FlashShape& shape);

}  // namespace fulcrum
