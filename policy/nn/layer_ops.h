// The differentiable pieces of a transformer layer, each one autograd node with a short backward pass, so
// that a tiny model is not spent on bookkeeping. Called by llama.cpp. Pure functions of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>

namespace fulcrum {

// A matrix, or up to three with the same input, stored as one so that they cost one product.
struct FusedLinear {
  at::Tensor master;                // fp32 [sum of rows, inputs]
  at::Tensor compute;               // what the product uses: master itself or its bf16 copy
  std::array<at::Tensor, 3> parts;  // the leaves: consecutive rows of master; unused ones undefined
};

// x W^T. The gradient goes to x and, in fp32, to the parts.
at::Tensor linear(const at::Tensor& x_TD, const FusedLinear& weight);

// x / rms(x) * weight over the last dimension (Zhang & Sennrich, "Root Mean Square Layer Normalization",
// 2019, eq. 4), computed in fp32 and returned as `dtype`.
at::Tensor rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon, at::ScalarType dtype);

// silu(gate) * up of [T, 2F] whose first half is the gate (Shazeer, "GLU Variants Improve Transformer", 2020,
// eq. 6).
at::Tensor swiglu(const at::Tensor& gate_up_T2F);

// `value` in the forward pass, the gradient to `leaf`: how an fp32 leaf stands for its bf16-rounded values.
at::Tensor straight_through(const at::Tensor& leaf, const at::Tensor& value);

// layer(x) without keeping what is inside; the backward pass runs it again. `layer` must be deterministic.
at::Tensor checkpoint(const at::Tensor& x, std::function<at::Tensor(const at::Tensor&)> layer);

}  // namespace fulcrum
