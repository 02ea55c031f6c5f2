// Products of matrices, for layer.cpp and the output head (logit_chunks.h): those of fp32 tensors by our own
// kernels (engine/kernels/gemm) on LibTorch's threads, with bits that do not depend on their number; all
// others (bf16, double, other devices) by LibTorch. No autograd. Thread-safe on disjoint outputs.
#pragma once

#include <ATen/core/Tensor.h>

namespace fulcrum {

// What becomes of fp32 numbers on their way into a product; sums are fp32 in both.
enum class Rounding { kNone, kBf16 };

// [M, K] x [K, N] -> [M, N] of the same dtype; transposed views are taken as they are.
at::Tensor product(const at::Tensor& a_MK, const at::Tensor& b_KN);
// The same in fp32, whatever the inputs are in; and added to an fp32 tensor.
at::Tensor float_product(const at::Tensor& a_MK, const at::Tensor& b_KN);
at::Tensor float_sum(const at::Tensor& x_MN, const at::Tensor& a_MK, const at::Tensor& b_KN);

// The same into `out_MN`, whose columns lie side by side; with `add`, added to what stands there.
void product_into(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN, bool add,
                  Rounding rounding = Rounding::kNone);

}  // namespace fulcrum
