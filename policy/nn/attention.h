// Causal attention over packed tokens with shared prompts, with its gradient. Called by layer.cpp. Not
// differentiable by itself: the layer has its own backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// What every layer of a forward pass shares: where the groups lie and the rotary angles of each token
// (computed in double, kept in fp32). Immutable once built.
class AttentionContext {
 public:
  virtual ~AttentionContext() = default;

  struct Output {
    at::Tensor out_TC;  // [T, heads head_dim]
    at::Tensor lse_TH;  // what backward() needs besides, in an order of its own
  };
  // qkv_TC: fp32 [T, (heads + 2 kv_heads) head_dim] before rotation, in the order q, k, v.
  virtual Output forward(const at::Tensor& qkv_TC) const = 0;
  // fp32, like qkv_TC.
  virtual at::Tensor backward(const at::Tensor& qkv_TC, const Output& forward,
                              const at::Tensor& d_out_TC) const = 0;
};

// For tensors on `device`, of a model whose products read `dtype`: on the CPU by engine/kernels, in fp32;
// elsewhere as device_attention.h says.
std::shared_ptr<const AttentionContext> attention_context(const ModelSpec& spec, const TrainBatch& batch,
                                                          at::Device device, at::ScalarType dtype);

// The rotary angles' cosines and sines of each token, [T, head_dim / 2] each.
struct RotaryAngles {
  std::vector<float> cosines, sines;
};
RotaryAngles rotary_angles(const ModelSpec& spec, const TrainBatch& batch);

}  // namespace fulcrum
