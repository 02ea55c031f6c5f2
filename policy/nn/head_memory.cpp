#include "policy/nn/head_memory.h"

#include <ATen/ops/empty.h>

#include <utility>

namespace fulcrum {

void add_weight_gradient(at::Tensor& sum_VD, at::Tensor& room_VD, const at::Tensor& d_logits_nV,
                         const at::Tensor& states_nD, Rounding rounding) {
  const bool begun = sum_VD.defined();
  if (!begun) sum_VD = std::exchange(room_VD, at::Tensor());
  if (!sum_VD.defined()) sum_VD = at::empty({d_logits_nV.size(1), states_nD.size(1)}, d_logits_nV.options());
  product_into(sum_VD, d_logits_nV.t(), states_nD, begun, rounding);
}

void HeadMemory::clear() {
  const auto on_cpu = [](const at::Tensor& x) { return x.defined() && x.is_cpu(); };
  if (weight_gradient != nullptr) {
    at::Tensor& gradient = weight_gradient->leaf_VD.mutable_grad();
    if (on_cpu(gradient)) weight_gradient->room_VD = gradient;
    gradient.reset();
  }
  for (at::Tensor* buffer : {&logits, &reference_logits}) {
    if (!on_cpu(*buffer)) buffer->reset();
  }
}

}  // namespace fulcrum
