#include "engine/learner/device_adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "policy/nn/device_call.h"

namespace fulcrum::device {

using kernels::DeviceKernels;
using kernels::Fallback;

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return 0;
  const at::TensorOptions doubles = tensors[0].options().dtype(at::kDouble).requires_grad(false);
  const at::Tensor sums = at::zeros({kernels::kSquareSums}, doubles);
  for (const at::Tensor& x : tensors) {
    const bool done =
        by_device_kernel(x, Fallback::kAdamw, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
          return k.add_squares(x.const_data_ptr<float>(), x.numel(), sums.mutable_data_ptr<double>(), stream);
        });
    if (!done) sums.select(0, 0).add_(x.detach().square().sum(at::kDouble));
  }
  return sums.sum().item<double>();
}

void adamw(const kernels::AdamwStep& step, const at::Tensor& gradient, const at::Tensor& weights,
           const at::Tensor& first, const at::Tensor& second) {
  const bool done =
      by_device_kernel(weights, Fallback::kAdamw, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.adamw(step, gradient.const_data_ptr<float>(), gradient.numel(),
                       weights.mutable_data_ptr<float>(), first.mutable_data_ptr<float>(),
                       second.mutable_data_ptr<float>(), stream);
      });
  if (done) return;
  const at::Tensor g = gradient * step.gradient_scale;
  first.mul_(step.beta1).add_(g, 1 - step.beta1);
  second.mul_(step.beta2).add_(g.square(), 1 - step.beta2);
  weights.mul_(step.kept).sub_(first / second.sqrt().div_(step.root).add_(step.epsilon), step.rate);
}

}  // namespace fulcrum::device
