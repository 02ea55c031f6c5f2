#include "policy/nn/layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "policy/nn/layer_rows.h"
#include "policy/nn/products.h"

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

class StraightThrough : public Function<StraightThrough> {
 public:
  static at::Tensor forward(AutogradContext*, const at::Tensor&, const at::Tensor& value) {
    return value.alias();
  }
  static variable_list backward(AutogradContext*, variable_list grads) { return {grads[0], at::Tensor()}; }
};

class RmsNorm : public Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor&,
                            const at::Tensor& value, double epsilon) {
    ctx->save_for_backward({x, value});
    ctx->saved_data["epsilon"] = epsilon;
    return rms_norm_rows(x, value, epsilon, at::kFloat);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    at::Tensor dx = at::zeros_like(saved[0]);
    const RmsNormGradient g = rms_norm_rows_backward(
        saved[0], saved[1], ctx->saved_data["epsilon"].toDouble(), grads[0].contiguous(), dx, at::kFloat);
    return {dx, g.d_weight_D, at::Tensor(), at::Tensor()};
  }
};

at::ScalarType dtype_of(const FusedLinear& w) { return w.compute.scalar_type(); }

// x w^T, [T, rows of w].
at::Tensor project(const at::Tensor& x_TD, const FusedLinear& w) {
  return float_product(x_TD.to(dtype_of(w)), w.compute.t());
}

// The same, added to `residual`.
at::Tensor project_and_add(const at::Tensor& x_TD, const FusedLinear& w, const at::Tensor& residual) {
  return float_sum(residual, x_TD.to(dtype_of(w)), w.compute.t());
}

// dy w: the gradient of a product's input.
at::Tensor input_gradient(const at::Tensor& dy, const FusedLinear& w) {
  return float_product(dy.to(dtype_of(w)), w.compute);
}

// dy^T x, part by part.
void append_weight_gradient(const at::Tensor& dy, const at::Tensor& x, const FusedLinear& w,
                            variable_list& out) {
  const at::Tensor d_weight = float_product(dy.to(dtype_of(w)).t(), x.to(dtype_of(w)));
  int64_t begin = 0;
  for (const at::Tensor& part : w.parts) {
    out.push_back(d_weight.narrow(0, begin, part.size(0)));
    begin += part.size(0);
  }
}

// What the backward pass needs of a layer run.
struct Kept {
  at::Tensor x, qkv, attended, lse, middle, gate_up;
};

struct Run final : torch::CustomClassHolder {
  Run(const LayerWeights& w, std::shared_ptr<const AttentionContext> a, const LayerOptions& o)
      : weights(w), attention(std::move(a)), options(o) {}

  // The layer's output; everything else of it goes to `kept`.
  at::Tensor forward(Kept& kept) const {
    const LayerWeights& w = weights;
    const auto normed = [&](const at::Tensor& x_TD, const Plain& norm, const FusedLinear& reader) {
      return rms_norm_rows(x_TD, norm.value(), options.rms_norm_eps, dtype_of(reader));
    };
    kept.qkv = project(normed(kept.x, w.input_norm, w.qkv), w.qkv);
    if (const auto& b = w.qkv_bias; !b.empty())
      kept.qkv.add_(at::cat({b[0].value(), b[1].value(), b[2].value()}));
    AttentionContext::Output attended = attention->forward(kept.qkv);
    kept.attended = std::move(attended.out_TC);
    kept.lse = std::move(attended.lse_TH);
    kept.middle = project_and_add(kept.attended, w.out, kept.x);
    kept.gate_up = project(normed(kept.middle, w.post_attention_norm, w.gate_up), w.gate_up);
    return project_and_add(swiglu_rows(kept.gate_up, dtype_of(w.down)), w.down, kept.middle);
  }

  const LayerWeights& weights;
  std::shared_ptr<const AttentionContext> attention;
  LayerOptions options;
};

// The leaves of a layer, in the order of the gradients that Layer::backward() returns.
std::vector<at::Tensor> leaves_of(const LayerWeights& w) {
  std::vector<at::Tensor> out{w.input_norm.leaf, w.post_attention_norm.leaf};
  for (const Plain& bias : w.qkv_bias) out.push_back(bias.leaf);
  for (const FusedLinear* m : {&w.down, &w.gate_up, &w.out, &w.qkv})
    out.insert(out.end(), m->parts.begin(), m->parts.end());
  return out;
}

class Layer : public Function<Layer> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList,
                            const c10::intrusive_ptr<Run>& run) {
    Kept kept{x, {}, {}, {}, {}, {}};
    at::Tensor y = run->forward(kept);
    ctx->saved_data["run"] = c10::IValue::make_capsule(run);
    if (run->options.recompute) {
      ctx->save_for_backward({x});
    } else {
      ctx->save_for_backward({x, kept.qkv, kept.attended, kept.lse, kept.middle, kept.gate_up});
    }
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto capsule = ctx->saved_data["run"].toCapsule();
    const Run& run = static_cast<const Run&>(*capsule);
    const variable_list saved = ctx->get_saved_variables();
    Kept kept{saved[0], {}, {}, {}, {}, {}};
    if (run.options.recompute) {
      run.forward(kept);
    } else {
      kept = {saved[0], saved[1], saved[2], saved[3], saved[4], saved[5]};
    }
    return gradients(run, kept, grads[0].contiguous());
  }

 private:
  // With n the norms:  middle = x + out(attention(qkv(n x))),  y = middle + down(swiglu(gate_up(n middle))).
  static variable_list gradients(const Run& run, const Kept& k, const at::Tensor& dy) {
    const LayerWeights& w = run.weights;
    const double epsilon = run.options.rms_norm_eps;
    variable_list matrices;  // in the order of leaves_of()
    const SwigluGradient gate = swiglu_rows_backward(k.gate_up, input_gradient(dy, w.down), dtype_of(w.down));
    append_weight_gradient(dy, gate.out_TF, w.down, matrices);

    at::Tensor d_middle = dy.clone();
    const RmsNormGradient post =
        rms_norm_rows_backward(k.middle, w.post_attention_norm.value(), epsilon,
                               input_gradient(gate.d_gate_up_T2F, w.gate_up), d_middle, dtype_of(w.gate_up));
    append_weight_gradient(gate.d_gate_up_T2F, post.normed_TD, w.gate_up, matrices);

    append_weight_gradient(d_middle, k.attended, w.out, matrices);
    const at::Tensor d_qkv =
        run.attention->backward(k.qkv, {k.attended, k.lse}, input_gradient(d_middle, w.out));
    at::Tensor& dx = d_middle;  // the rest of the way: the residual's part is there already
    const RmsNormGradient input = rms_norm_rows_backward(k.x, w.input_norm.value(), epsilon,
                                                         input_gradient(d_qkv, w.qkv), dx, dtype_of(w.qkv));
    append_weight_gradient(d_qkv, input.normed_TD, w.qkv, matrices);

    variable_list out{dx, input.d_weight_D, post.d_weight_D};
    if (!w.qkv_bias.empty()) {
      const at::Tensor d_bias = d_qkv.sum(0);
      int64_t begin = 0;
      for (const Plain& bias : w.qkv_bias) {
        out.push_back(d_bias.narrow(0, begin, bias.leaf.size(0)));
        begin += bias.leaf.size(0);
      }
    }
    out.insert(out.end(), matrices.begin(), matrices.end());
    out.emplace_back();  // the run is no variable
    return out;
  }
};

}  // namespace

at::Tensor Plain::use() const { return rounded.defined() ? StraightThrough::apply(leaf, rounded) : leaf; }

at::Tensor transformer_layer(const at::Tensor& x_TD, const LayerWeights& weights,
                             const std::shared_ptr<const AttentionContext>& attention,
                             const LayerOptions& options) {
  const std::vector<at::Tensor> leaves = leaves_of(weights);
  return Layer::apply(x_TD, at::TensorList(leaves), c10::make_intrusive<Run>(weights, attention, options));
}

at::Tensor rms_norm(const at::Tensor& x_TD, const Plain& weight_D, double epsilon) {
  return RmsNorm::apply(x_TD, weight_D.leaf, weight_D.value(), epsilon);
}

}  // namespace fulcrum
