#include "policy/nn/products.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "engine/kernels/aligned.h"
#include "engine/kernels/gemm/op.h"
#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

at::Tensor with_unit_stride(const at::Tensor& x) {
  return x.stride(0) == 1 || x.stride(1) == 1 ? x : x.contiguous();
}

// How C is cut: into `rows` times `columns` parts.
struct Cut {
  int64_t rows, columns;
};
Cut cut(const kernels::GemmShape& shape, int64_t threads) {
  const auto parts = [](int64_t n, int64_t most) { return std::clamp<int64_t>(n / 64, 1, most); };
  // Parts of the rows read all of B, parts of the columns all of A: the longer side is cut first.
  if (shape.rows >= shape.columns) {
    const int64_t rows = parts(shape.rows, threads);
    return {rows, parts(shape.columns, threads / rows)};
  }
  const int64_t columns = parts(shape.columns, threads);
  return {parts(shape.rows, threads / columns), columns};
}

void fp32_product(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN, bool add,
                  Rounding rounding) {
  const auto gemm = rounding == Rounding::kBf16 ? kernels::gemm_bf16 : kernels::gemm;
  const kernels::GemmShape shape{a_MK.size(0), b_KN.size(1), a_MK.size(1)};
  const kernels::GemmMatrix a{a_MK.const_data_ptr<float>(), a_MK.stride(0), a_MK.stride(1)};
  const kernels::GemmMatrix b{b_KN.const_data_ptr<float>(), b_KN.stride(0), b_KN.stride(1)};
  float* c = out_MN.mutable_data_ptr<float>();
  const int64_t c_stride = out_MN.stride(0);
  const Cut parts = cut(shape, at::get_num_threads());
  const int64_t high = kernels::round_up((shape.rows + parts.rows - 1) / parts.rows, 6);
  const int64_t wide = kernels::round_up((shape.columns + parts.columns - 1) / parts.columns, 32);
  parallel_for(parts.rows * parts.columns, [&](int64_t i) {
    const int64_t m = i / parts.columns * high, n = i % parts.columns * wide;
    const int64_t rows = std::min(high, shape.rows - m), columns = std::min(wide, shape.columns - n);
    if (rows <= 0 || columns <= 0) return;
    gemm({rows, columns, shape.depth}, {a.data + m * a.row_stride, a.row_stride, a.column_stride},
         {b.data + n * b.column_stride, b.row_stride, b.column_stride}, add, c + m * c_stride + n, c_stride);
  });
}

}  // namespace

void product_into(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN, bool add,
                  Rounding rounding) {
  at::Tensor out = out_MN;
  if (out_MN.scalar_type() == at::kFloat && out_MN.is_cpu()) {
    fp32_product(out_MN, with_unit_stride(a_MK), with_unit_stride(b_KN), add, rounding);
  } else if (rounding == Rounding::kBf16 && !out_MN.is_cpu()) {
    const at::Tensor a = a_MK.to(at::kBFloat16), b = b_KN.to(at::kBFloat16);
    if (add) {
      at::addmm_out(out, out_MN, a, b, at::kFloat);
    } else {
      at::mm_out(out, a, b, at::kFloat);
    }
  } else if (rounding == Rounding::kBf16) {
    const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16).to(x.scalar_type()); };
    product_into(out_MN, rounded(a_MK), rounded(b_KN), add);
  } else if (add) {
    out.addmm_(a_MK, b_KN);
  } else {
    at::mm_out(out, a_MK, b_KN);
  }
}

at::Tensor product(const at::Tensor& a_MK, const at::Tensor& b_KN) {
  at::Tensor out_MN = at::empty({a_MK.size(0), b_KN.size(1)}, a_MK.options().requires_grad(false));
  product_into(out_MN, a_MK, b_KN, false);
  return out_MN;
}

// A device's product rounds its sums once, from fp32; on the CPU LibTorch has none that does not round to
// bf16 on the way.
at::Tensor float_product(const at::Tensor& a_MK, const at::Tensor& b_KN) {
  if (!a_MK.is_cpu() && a_MK.scalar_type() != at::kFloat) return at::mm(a_MK, b_KN, at::kFloat);
  return product(a_MK, b_KN).to(at::kFloat);
}

at::Tensor float_sum(const at::Tensor& x_MN, const at::Tensor& a_MK, const at::Tensor& b_KN) {
  if (a_MK.scalar_type() == at::kFloat) {
    at::Tensor out_MN = x_MN.clone();
    product_into(out_MN, a_MK, b_KN, true);
    return out_MN;
  }
  if (!a_MK.is_cpu()) return at::addmm(x_MN, a_MK, b_KN, at::kFloat);
  return float_product(a_MK, b_KN).add_(x_MN);
}

}  // namespace fulcrum
