// The parts of a transformer on packed tokens: a whole layer as one autograd node with a backward pass
// written by hand, and the RMS norm. Called by llama.cpp. Products are those of products.h, everything
// between them is kernels on fp32 rows; with bf16 the operands of the products are rounded to bf16, nothing
// else is.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "policy/nn/attention.h"

namespace fulcrum {

// A parameter used as it is (embedding, norm, bias): the leaf, and with bf16 its rounded values in fp32.
struct Plain {
  at::Tensor leaf, rounded;
  at::Tensor value() const { return rounded.defined() ? rounded : leaf; }
  at::Tensor use() const;  // value() in the forward pass, the gradient to the leaf
};

// A matrix, or some with the same input, stored as one so that they cost one product.
struct FusedLinear {
  at::Tensor master;              // fp32 [sum of rows, inputs]
  at::Tensor compute;             // what the product uses: master itself or its bf16 copy
  std::vector<at::Tensor> parts;  // the leaves: consecutive rows of master
};

struct LayerWeights {
  Plain input_norm, post_attention_norm;
  FusedLinear qkv, out, gate_up, down;
  std::vector<Plain> qkv_bias;  // q, k, v; empty without biases
};

struct LayerOptions {
  double rms_norm_eps = 1e-5;
  bool recompute =
      false;  // keep the layer's input alone and run it again in the backward pass: the same bits
};

// One layer, [T, D] fp32 -> [T, D] fp32. `weights` outlive the graph.
at::Tensor transformer_layer(const at::Tensor& x_TD, const LayerWeights& weights,
                             const std::shared_ptr<const AttentionContext>& attention,
                             const LayerOptions& options);

// x / rms(x) * weight over the last dimension (Zhang & Sennrich, "Root Mean Square Layer Normalization",
// 2019, eq. 4), [T, D] fp32.
at::Tensor rms_norm(const at::Tensor& x_TD, const Plain& weight_D, double epsilon);

}  // namespace fulcrum
