#include "engine/learner/device_adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cmath>
#include <utility>

#include "policy/nn/device_call.h"

namespace fulcrum::device {
namespace {

using kernels::DeviceKernels;
using kernels::DeviceStream;
using kernels::Fallback;

at::Tensor doubles(int64_t n, const at::Tensor& beside) {
  return at::empty({n}, at::TensorOptions(beside.device()).dtype(at::kDouble));
}

float* numbers_of(const at::Tensor& x) { return x.defined() ? x.mutable_data_ptr<float>() : nullptr; }

}  // namespace

kernels::TrainedList TrainedSet::list(const std::vector<Leaf>& leaves) {
  std::vector<kernels::TrainedTensor> tensors;
  for (const Leaf& leaf : leaves) {
    tensors.push_back(
        {.gradient = numbers_of(leaf.gradient),
         .weights = numbers_of(leaf.weights),
         .first = numbers_of(leaf.first),
         .second = numbers_of(leaf.second),
         .n = leaf.weights.numel(),
         .rounded = leaf.rounded.defined() ? leaf.rounded.mutable_data_ptr() : nullptr,
         .rounded_as = activation_type(leaf.rounded.defined() ? leaf.rounded.scalar_type() : at::kFloat),
         .decays = leaf.weights.dim() >= 2});
  }
  if (tensors.empty()) return {};
  return list(std::move(tensors), leaves[0].weights.device());
}

kernels::TrainedList TrainedSet::list(std::vector<kernels::TrainedTensor> tensors, at::Device device) {
  kernels::TrainedList out{.count = std::ssize(tensors)};
  for (kernels::TrainedTensor& t : tensors) {
    t.first_piece = out.pieces;
    out.pieces += (t.n + kernels::kTrainedPiece - 1) / kernels::kTrainedPiece;
  }
  if (tensors != tensors_) {
    tensors_ = std::move(tensors);
    const auto bytes = static_cast<int64_t>(tensors_.size() * sizeof(kernels::TrainedTensor));
    memory_ = at::from_blob(tensors_.data(), {bytes}, at::kByte)
                  .to(at::TensorOptions(device), /*non_blocking=*/true, /*copy=*/true);
  }
  out.tensors = reinterpret_cast<const kernels::TrainedTensor*>(memory_.const_data_ptr());
  return out;
}

double norm(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return 0;
  const at::Tensor out = doubles(1, tensors[0]);
  const bool done = by_device_kernel(out, Fallback::kAdamw, [&](const DeviceKernels& k, DeviceStream stream) {
    std::vector<Leaf> leaves;
    for (const at::Tensor& x : tensors) leaves.push_back({.gradient = x, .weights = x});
    TrainedSet set;
    const at::Tensor sums = doubles(kernels::kSquareSums, out);
    return k.norm(set.list(leaves), sums.mutable_data_ptr<double>(), out.mutable_data_ptr<double>(), stream);
  });
  if (done) return out.item<double>();
  out.zero_();
  for (const at::Tensor& x : tensors) out.add_(x.square().sum(at::kDouble));
  return std::sqrt(out.item<double>());
}

std::optional<std::vector<double>> clipped_adamw(std::span<const ClippedStep> steps) {
  const at::Tensor& somewhere = steps[0].leaves[0].weights;
  const auto count = static_cast<int64_t>(steps.size());
  at::Tensor norms;
  const bool done = if_device_kernel(somewhere, [&](const DeviceKernels& k, DeviceStream stream) {
    norms = doubles(count, somewhere);
    const at::Tensor sums = doubles(kernels::kSquareSums, somewhere);
    auto* const norm = norms.mutable_data_ptr<double>();
    std::vector<kernels::TrainedList> lists;
    int error = 0;
    for (size_t i = 0; i < steps.size() && error == 0; ++i) {
      lists.push_back(steps[i].set.list(steps[i].leaves));
      error = k.norm(lists[i], sums.mutable_data_ptr<double>(), norm + i, stream);
    }
    for (size_t i = 0; i < steps.size() && error == 0; ++i) {
      const kernels::Clip clip{
          .norms = norm, .count = count, .own = static_cast<int64_t>(i), .most = steps[i].most};
      error = k.adamw(lists[i], steps[i].step, clip, stream);
    }
    return error;
  });
  if (!done) return std::nullopt;
  const at::Tensor here = norms.to(at::kCPU);
  const auto* const values = here.const_data_ptr<double>();
  return std::vector<double>(values, values + count);
}

void plain_adamw(const kernels::AdamwStep& step, const Leaf& leaf) {
  kernels::note_fallback(Fallback::kAdamw);
  const auto& [gradient, weights, first, second, rounded] = leaf;
  const at::Tensor g = gradient * step.gradient_scale;
  first.mul_(step.beta1).add_(g, 1 - step.beta1);
  second.mul_(step.beta2).add_(g.square(), 1 - step.beta2);
  weights.mul_(step.kept).sub_(first / second.sqrt().div_(step.root).add_(step.epsilon), step.rate);
}

}  // namespace fulcrum::device
