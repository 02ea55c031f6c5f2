// What passes through the head over parts of a micro-batch share, each part forward and backward before the
// next: room for logits, and the sum of the weight's gradients, which autograd then does not see. Made by
// the learner, used by token_logps.cpp and token_divergences.cpp. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include "policy/nn/products.h"

namespace fulcrum {

struct WeightGradient final : torch::CustomClassHolder {
  at::Tensor sum_VD;  // fp32, or double; undefined until something was added

  // d_logits^T states, of [n, V] and [n, D]. The first product is written: a gradient as large as the head is
  // not cleared only to be read again.
  void add(const at::Tensor& d_logits_nV, const at::Tensor& states_nD, Rounding rounding);
};

struct HeadMemory {
  c10::intrusive_ptr<WeightGradient> weight_gradient;  // none where nobody wants it
  at::Tensor logits, reference_logits;                 // made by the first part that needs them
};

}  // namespace fulcrum
