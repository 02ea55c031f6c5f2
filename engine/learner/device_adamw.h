// The optimizer's passes over numbers that are not on the CPU: by the device's kernels, each in one launch
// for all tensors, or in LibTorch's own operations where there are none. Called by adamw.cpp. Not
// thread-safe on overlapping tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "engine/kernels/device/table.h"

namespace fulcrum::device {

// The norm of all numbers of contiguous fp32 tensors on one device. Waits for the device.
double norm(const std::vector<at::Tensor>& tensors);

// Contiguous fp32.
struct Leaf {
  at::Tensor gradient;  // undefined: 0
  at::Tensor weights, first, second;
  at::Tensor rounded;  // gets the weights rounded to bf16: bf16, or fp32; undefined: nothing does
};

// Leaves that are trained together as the kernels read them: a list in the device's memory, made again where
// something lies elsewhere than before, as gradients may from step to step. It lasts until the next one.
class TrainedSet {
 public:
  kernels::TrainedList list(const std::vector<Leaf>& leaves);
  // Where each tensor's pieces begin is found here.
  kernels::TrainedList list(std::vector<kernels::TrainedTensor> tensors, at::Device device);

 private:
  std::vector<kernels::TrainedTensor> tensors_;
  at::Tensor memory_;  // the same there
};

struct ClippedStep {
  TrainedSet& set;
  std::vector<Leaf> leaves;
  kernels::AdamwStep step;
  double most = 0;  // that the gradients' norm is clipped to; 0: it is not
};
// One step of each set: all of them, or none where a norm is not finite or all are 0. The norms, for which it
// waits. Nothing: this process has no kernels.
std::optional<std::vector<double>> clipped_adamw(std::span<const ClippedStep> steps);

// kernels::adamw() on a whole leaf in LibTorch's operations.
void plain_adamw(const kernels::AdamwStep& step, const Leaf& leaf);

}  // namespace fulcrum::device
