#include "policy/nn/layer_ops.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>
#include <vector>

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Optional, because autograd takes no undefined tensor for an input.
using Part = std::optional<at::Tensor>;

class Linear : public Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& compute,
                            const Part& a, const Part& b, const Part& c) {
    ctx->save_for_backward({x, compute});
    std::vector<int64_t> rows;
    for (const Part* part : {&a, &b, &c}) rows.push_back(part->has_value() ? (*part)->size(0) : 0);
    ctx->saved_data["rows"] = rows;
    return at::linear(x, compute);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &compute = saved[1], &dy = grads[0];
    variable_list out(5);
    if (ctx->needs_input_grad(0)) out[0] = at::mm(dy, compute);
    const at::Tensor d_weight = at::mm(dy.t(), x).to(at::kFloat);
    int64_t begin = 0;
    const auto sizes = ctx->saved_data["rows"].toIntVector();
    for (size_t i = 0; i < sizes.size(); begin += sizes[i++]) {
      if (sizes[i] > 0) out[2 + i] = d_weight.narrow(0, begin, sizes[i]);
    }
    return out;
  }
};

class RmsNorm : public Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double epsilon, at::ScalarType dtype) {
    const at::Tensor norm_T1 = at::linalg_vector_norm(x, 2, {-1}, true);
    const at::Tensor inverse_T1 =
        norm_T1.square().div_(static_cast<double>(x.size(1))).add_(epsilon).rsqrt_();
    ctx->save_for_backward({x, weight, inverse_T1});
    return at::mul(x, inverse_T1).mul_(weight).to(dtype);
  }

  // With n = x / rms and g = dy * w:  dw = sum_T dy * n,  dx = (g - n * mean(g * n)) / rms.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse_T1 = saved[2];
    const at::Tensor dy = grads[0].to(at::kFloat);
    const at::Tensor normed = at::mul(x, inverse_T1);
    const at::Tensor product = at::mul(dy, normed);
    const at::Tensor mean_T1 = at::mv(product, weight).div_(static_cast<double>(x.size(1))).unsqueeze(1);
    at::Tensor dx = at::mul(dy, weight).addcmul_(normed, mean_T1, -1).mul_(inverse_T1);
    return {dx, product.sum(0), at::Tensor(), at::Tensor()};
  }
};

class SwiGlu : public Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    const int64_t inner = gate_up.size(1) / 2;
    return at::silu(gate_up.narrow(1, 0, inner)).mul_(gate_up.narrow(1, inner, inner));
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0];
    const int64_t inner = gate_up.size(1) / 2;
    const at::Tensor gate = gate_up.narrow(1, 0, inner), up = gate_up.narrow(1, inner, inner);
    at::Tensor out = at::empty_like(gate_up);
    at::Tensor d_gate = out.narrow(1, 0, inner), d_up = out.narrow(1, inner, inner);
    at::mul_out(d_up, at::silu(gate), grads[0]);
    at::silu_backward_out(d_gate, at::mul(grads[0], up), gate);
    return {out};
  }
};

class StraightThrough : public Function<StraightThrough> {
 public:
  static at::Tensor forward(AutogradContext*, const at::Tensor&, const at::Tensor& value) {
    return value.alias();
  }
  static variable_list backward(AutogradContext*, variable_list grads) { return {grads[0], at::Tensor()}; }
};

struct Layer final : torch::CustomClassHolder {
  explicit Layer(std::function<at::Tensor(const at::Tensor&)> f) : run(std::move(f)) {}
  std::function<at::Tensor(const at::Tensor&)> run;
};

// The parameters are captured by the function, not inputs of the node: its backward pass adds to their
// gradients itself, in the same order as without checkpointing.
class Checkpoint : public Function<Checkpoint> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x,
                            const c10::intrusive_ptr<Layer>& layer) {
    ctx->save_for_backward({x});
    ctx->saved_data["layer"] = c10::IValue::make_capsule(layer);
    return layer->run(x);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto capsule = ctx->saved_data["layer"].toCapsule();
    const at::AutoGradMode with_gradients(true);
    const at::Tensor x = ctx->get_saved_variables()[0].detach().set_requires_grad(true);
    const at::Tensor y = static_cast<const Layer&>(*capsule).run(x);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x_TD, const FusedLinear& weight) {
  const auto part = [&](size_t i) {
    return weight.parts[i].defined() ? Part(weight.parts[i]) : std::nullopt;
  };
  return Linear::apply(x_TD, weight.compute, part(0), part(1), part(2));
}

at::Tensor rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon,
                    at::ScalarType dtype) {
  return RmsNorm::apply(x_TD, weight_D, epsilon, dtype);
}

at::Tensor swiglu(const at::Tensor& gate_up_T2F) { return SwiGlu::apply(gate_up_T2F); }

at::Tensor straight_through(const at::Tensor& leaf, const at::Tensor& value) {
  return StraightThrough::apply(leaf, value);
}

at::Tensor checkpoint(const at::Tensor& x, std::function<at::Tensor(const at::Tensor&)> layer) {
  return Checkpoint::apply(x, c10::make_intrusive<Layer>(std::move(layer)));
}

}  // namespace fulcrum
