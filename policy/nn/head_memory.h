// What the output head keeps from part to part of a micro-batch, and a learner from step to step: room for
// logits, and the way of the weight's gradient past autograd. Pages that went back to the system each time
// would cost the head up to a third of its time again. Made by the learner, used by token_logps.cpp and
// token_divergences.cpp. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <utility>

#include "policy/nn/products.h"

namespace fulcrum {

// sum_VD += d_logits^T states, of [n, V] and [n, D], in fp32 or double. An undefined sum is made, in `room`
// where that is defined, and its first product is written: what is as large as the head is not cleared only
// to be read again.
void add_weight_gradient(at::Tensor& sum_VD, at::Tensor& room_VD, const at::Tensor& d_logits_nV,
                         const at::Tensor& states_nD, Rounding rounding);

// Adds to a leaf's own gradient, where autograd would make a sum of its own and then a copy of it.
struct WeightGradient final : torch::CustomClassHolder {
  explicit WeightGradient(at::Tensor leaf) : leaf_VD(std::move(leaf)) {}

  void add(const at::Tensor& d_logits_nV, const at::Tensor& states_nD, Rounding rounding) {
    add_weight_gradient(leaf_VD.mutable_grad(), room_VD, d_logits_nV, states_nD, rounding);
  }
  at::Tensor leaf_VD, room_VD;
};

struct HeadMemory {
  // Between two steps: forgets the gradient and keeps the room. A device's allocator keeps what is freed for
  // whoever needs it next, so there nothing is kept here.
  void clear();

  c10::intrusive_ptr<WeightGradient> weight_gradient;  // none: autograd is given it
  at::Tensor logits, reference_logits;                 // made by the first part that needs them
};

}  // namespace fulcrum
