// The row functions of layer_rows.h where the tensors are not on the CPU: by the device's kernels, or in
// LibTorch's own operations where there are none. Called by layer_rows.cpp. Pure functions of contiguous
// tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/nn/layer_rows.h"

namespace fulcrum::device {

at::Tensor rms_norm_rows(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                         at::ScalarType type);
RmsNormGradient rms_norm_rows_backward(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                                       const at::Tensor& dy_TD, at::Tensor& dx_TD, at::ScalarType type);
at::Tensor swiglu_rows(const at::Tensor& gate_up_T2F, at::ScalarType type);
SwigluGradient swiglu_rows_backward(const at::Tensor& gate_up_T2F, const at::Tensor& d_out_TF,
                                    at::ScalarType type);

}  // namespace fulcrum::device
