// The rows of the embedding. Called by llama.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/nn/layer.h"

namespace fulcrum {

// [T, D] fp32, the rows `ids_T` (int32 or int64) of a [V, D] weight. Its gradient is T rows of the V: where
// the leaf has a gradient already (from the head it is tied to, or an earlier micro-batch), on the CPU, they
// are added to it in the order of T, and autograd is told of none. So .grad must not be read while a backward
// pass is on its way, and torch::autograd::grad() gives no gradient of such a leaf.
at::Tensor embed(const Plain& weight_VD, const at::Tensor& ids_T);

}  // namespace fulcrum
