#include "policy/nn/head_memory.h"

#include <ATen/ops/empty.h>

namespace fulcrum {

void WeightGradient::add(const at::Tensor& d_logits_nV, const at::Tensor& states_nD, Rounding rounding) {
  const bool begun = sum_VD.defined();
  if (!begun) sum_VD = at::empty({d_logits_nV.size(1), states_nD.size(1)}, d_logits_nV.options());
  product_into(sum_VD, d_logits_nV.t(), states_nD, begun, rounding);
}

}  // namespace fulcrum
