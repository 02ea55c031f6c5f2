// The optimizer's passes over numbers that are not on the CPU: by the device's kernels, or in LibTorch's own
// operations where there are none. Called by adamw.cpp. Not thread-safe on overlapping tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/kernels/adamw/op.h"

namespace fulcrum::device {

// Of all tensors, contiguous fp32 on one device, together. Waits for the device.
double sum_of_squares(const std::vector<at::Tensor>& tensors);

// kernels::adamw() on whole tensors, contiguous fp32.
void adamw(const kernels::AdamwStep& step, const at::Tensor& gradient, const at::Tensor& weights,
           const at::Tensor& first, const at::Tensor& second);

}  // namespace fulcrum::device
