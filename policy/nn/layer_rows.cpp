#include "policy/nn/layer_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rmsnorm_grad/op.h"
#include "engine/kernels/silu_mul/op.h"
#include "engine/kernels/silu_mul_grad/op.h"
#include "policy/nn/device_rows.h"
#include "policy/nn/parallel.h"

namespace fulcrum {

at::Tensor rms_norm_rows(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                         at::ScalarType type) {
  if (!x_TD.is_cpu()) return device::rms_norm_rows(x_TD, weight_D, epsilon, type);
  at::Tensor y_TD = at::empty_like(x_TD);
  const int64_t n = x_TD.size(1);
  const float *x = x_TD.const_data_ptr<float>(), *weight = weight_D.const_data_ptr<float>();
  float* y = y_TD.mutable_data_ptr<float>();
  for_row_blocks(x_TD.size(0), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::rmsnorm_row(x + t * n, weight, n, static_cast<float>(epsilon), y + t * n);
  });
  return y_TD.to(type);
}

// Each block sums its rows' gradients of the weight; the blocks are added in order.
RmsNormGradient rms_norm_rows_backward(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                                       const at::Tensor& dy_TD, at::Tensor& dx_TD, at::ScalarType type) {
  if (!x_TD.is_cpu()) return device::rms_norm_rows_backward(x_TD, weight_D, epsilon, dy_TD, dx_TD, type);
  const int64_t n = x_TD.size(1), rows = x_TD.size(0);
  RmsNormGradient out{at::empty_like(x_TD), {}};
  const at::Tensor partial_BD = at::zeros({row_blocks(rows), n}, x_TD.options());
  const float *x = x_TD.const_data_ptr<float>(), *weight = weight_D.const_data_ptr<float>();
  const float* dy = dy_TD.const_data_ptr<float>();
  float *y = out.normed_TD.mutable_data_ptr<float>(), *dx = dx_TD.mutable_data_ptr<float>();
  float* partial = partial_BD.mutable_data_ptr<float>();
  for_row_blocks(rows, [&](int64_t block, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      kernels::rmsnorm_row_backward({x + t * n, weight, n, static_cast<float>(epsilon)}, dy + t * n,
                                    y + t * n, dx + t * n, partial + block * n);
    }
  });
  out.normed_TD = out.normed_TD.to(type);
  out.d_weight_D = partial_BD.sum(0);
  return out;
}

at::Tensor swiglu_rows(const at::Tensor& gate_up_T2F, at::ScalarType type) {
  if (!gate_up_T2F.is_cpu()) return device::swiglu_rows(gate_up_T2F, type);
  const int64_t n = gate_up_T2F.size(1) / 2, rows = gate_up_T2F.size(0);
  at::Tensor y_TF = at::empty({rows, n}, gate_up_T2F.options());
  const float* gate_up = gate_up_T2F.const_data_ptr<float>();
  float* y = y_TF.mutable_data_ptr<float>();
  for_row_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::silu_mul_row(gate_up + t * 2 * n, gate_up + t * 2 * n + n, n, y + t * n);
  });
  return y_TF.to(type);
}

SwigluGradient swiglu_rows_backward(const at::Tensor& gate_up_T2F, const at::Tensor& d_out_TF,
                                    at::ScalarType type) {
  if (!gate_up_T2F.is_cpu()) return device::swiglu_rows_backward(gate_up_T2F, d_out_TF, type);
  at::Tensor d_gate_up_T2F = at::empty_like(gate_up_T2F);
  const int64_t n = d_out_TF.size(1);
  const float* gate_up = gate_up_T2F.const_data_ptr<float>();
  float *d_gate_up = d_gate_up_T2F.mutable_data_ptr<float>(), *out = d_out_TF.mutable_data_ptr<float>();
  for_row_blocks(d_out_TF.size(0), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = gate_up + t * 2 * n;
      float* gradient = d_gate_up + t * 2 * n;
      kernels::silu_mul_row_backward(row, row + n, out + t * n, n, gradient, gradient + n, out + t * n);
    }
  });
  return {std::move(d_gate_up_T2F), d_out_TF.to(type)};
}

}  // namespace fulcrum
