// The row kernels of a layer over whole tensors: on LibTorch's threads, or where the tensors are (see
// device_rows.h). Called by layer.cpp. Pure functions of contiguous fp32 tensors; results do not depend on
// the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum {

// What a product reads next is given in the product's type, computed in fp32 and rounded once.
at::Tensor rms_norm_rows(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                         at::ScalarType type);

struct RmsNormGradient {
  at::Tensor normed_TD;   // the forward pass's output again
  at::Tensor d_weight_D;  //
};
// Adds the gradient with respect to x to `dx_TD`.
RmsNormGradient rms_norm_rows_backward(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                                       const at::Tensor& dy_TD, at::Tensor& dx_TD, at::ScalarType type);

// silu(gate) * up of [T, 2F] whose first half is the gate (Shazeer, "GLU Variants Improve Transformer", 2020,
// eq. 6).
at::Tensor swiglu_rows(const at::Tensor& gate_up_T2F, at::ScalarType type);

struct SwigluGradient {
  at::Tensor d_gate_up_T2F;
  at::Tensor out_TF;  // the forward pass's output again
};
// `d_out_TF` is spent.
SwigluGradient swiglu_rows_backward(const at::Tensor& gate_up_T2F, const at::Tensor& d_out_TF,
                                    at::ScalarType type);

}  // namespace fulcrum
