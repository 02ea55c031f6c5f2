// A tensor computed outside autograd, put back into it with its known elementwise derivative. Called by
// divergence.cpp.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum {

// `y` as a function of `x` (same shape) whose derivative is `dy_dx`: backward gives grad * dy_dx, and 0 where
// grad is 0 even if dy_dx is infinite. A second derivative throws, since dy_dx is taken for a constant.
at::Tensor with_derivative(const at::Tensor& x, const at::Tensor& y, const at::Tensor& dy_dx);

}  // namespace fulcrum
