#include "policy/nn/device_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>

#include "policy/nn/device_call.h"

namespace fulcrum::device {
namespace {

using kernels::DeviceKernels;
using kernels::Fallback;

kernels::NormRows norm_rows(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon) {
  return {x_TD.const_data_ptr<float>(), weight_D.const_data_ptr<float>(), x_TD.size(0), x_TD.size(1),
          static_cast<float>(epsilon)};
}

// 1 / rms(x), [T, 1].
at::Tensor inverse_rms(const at::Tensor& x_TD, double epsilon) {
  return (x_TD.square().mean(-1, true) + epsilon).rsqrt();
}

}  // namespace

at::Tensor rms_norm_rows(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                         at::ScalarType type) {
  at::Tensor y_TD = at::empty_like(x_TD, type);
  const bool done =
      by_device_kernel(x_TD, Fallback::kRmsNorm, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.rmsnorm(norm_rows(x_TD, weight_D, epsilon), activation_type(type), y_TD.mutable_data_ptr(),
                         stream);
      });
  return done ? y_TD : (x_TD * inverse_rms(x_TD, epsilon) * weight_D).to(type);
}

RmsNormGradient rms_norm_rows_backward(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                                       const at::Tensor& dy_TD, at::Tensor& dx_TD, at::ScalarType type) {
  RmsNormGradient out{at::empty_like(x_TD, type), {}};
  const int64_t blocks = (x_TD.size(0) + kernels::kNormGradientRows - 1) / kernels::kNormGradientRows;
  const at::Tensor partial_BD = at::empty({blocks, x_TD.size(1)}, x_TD.options());
  const bool done =
      by_device_kernel(x_TD, Fallback::kRmsNorm, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.rmsnorm_backward(norm_rows(x_TD, weight_D, epsilon), dy_TD.const_data_ptr<float>(),
                                  activation_type(type), out.normed_TD.mutable_data_ptr(),
                                  dx_TD.mutable_data_ptr<float>(), partial_BD.mutable_data_ptr<float>(),
                                  stream);
      });
  if (done) {
    out.d_weight_D = partial_BD.sum(0);
    return out;
  }
  const at::Tensor r_T1 = inverse_rms(x_TD, epsilon), hat_TD = x_TD * r_T1, g_TD = dy_TD * weight_D;
  dx_TD.add_((g_TD - hat_TD * (g_TD * hat_TD).mean(-1, true)).mul_(r_T1));
  out.normed_TD = (hat_TD * weight_D).to(type);
  out.d_weight_D = (dy_TD * hat_TD).sum(0);
  return out;
}

at::Tensor swiglu_rows(const at::Tensor& gate_up_T2F, at::ScalarType type) {
  const int64_t rows = gate_up_T2F.size(0), n = gate_up_T2F.size(1) / 2;
  at::Tensor y_TF = at::empty({rows, n}, gate_up_T2F.options().dtype(type));
  const bool done = by_device_kernel(
      gate_up_T2F, Fallback::kSwiglu, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.swiglu(gate_up_T2F.const_data_ptr<float>(), rows, n, activation_type(type),
                        y_TF.mutable_data_ptr(), stream);
      });
  if (done) return y_TF;
  const at::Tensor gate_TF = gate_up_T2F.narrow(1, 0, n);
  return (gate_TF * gate_TF.sigmoid()).mul_(gate_up_T2F.narrow(1, n, n)).to(type);
}

SwigluGradient swiglu_rows_backward(const at::Tensor& gate_up_T2F, const at::Tensor& d_out_TF,
                                    at::ScalarType type) {
  const int64_t rows = d_out_TF.size(0), n = d_out_TF.size(1);
  SwigluGradient out{at::empty_like(gate_up_T2F), at::empty_like(d_out_TF, type)};
  const bool done = by_device_kernel(
      gate_up_T2F, Fallback::kSwiglu, [&](const DeviceKernels& k, kernels::DeviceStream stream) {
        return k.swiglu_backward(gate_up_T2F.const_data_ptr<float>(), d_out_TF.const_data_ptr<float>(), rows,
                                 n, activation_type(type), out.d_gate_up_T2F.mutable_data_ptr<float>(),
                                 out.out_TF.mutable_data_ptr(), stream);
      });
  if (done) return out;
  const at::Tensor gate_TF = gate_up_T2F.narrow(1, 0, n), up_TF = gate_up_T2F.narrow(1, n, n);
  const at::Tensor s_TF = gate_TF.sigmoid(), silu_TF = gate_TF * s_TF;
  out.d_gate_up_T2F = at::cat({d_out_TF * up_TF * (s_TF + silu_TF * (1 - s_TF)), d_out_TF * silu_TF}, 1);
  out.out_TF = (silu_TF * up_TF).to(type);
  return out;
}

}  // namespace fulcrum::device
