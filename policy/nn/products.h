// Products of matrices, for layer.cpp and the output head (logit_chunks.h): fp32 ones by our own kernel
// (engine/kernels/gemm) on LibTorch's threads, with bits that do not depend on their number; all others
// (bf16, double) by LibTorch. No autograd. Thread-safe on disjoint outputs.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum {

// [M, K] x [K, N] -> [M, N] of the same dtype; transposed views are taken as they are.
at::Tensor product(const at::Tensor& a_MK, const at::Tensor& b_KN);

// The same into `out_MN`, whose columns lie side by side; with `add`, added to what stands there.
void product_into(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN, bool add);

}  // namespace fulcrum
