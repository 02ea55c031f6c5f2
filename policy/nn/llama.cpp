// The Llama family (Llama, Mistral, Qwen2) over packed tokens: embedding, layers of attention and SwiGLU with
// RMS norms before them, final norm. The residual stream, the norms and the head stay fp32; with bf16 the
// weights are the bf16-rounded ones everywhere and the products inside the layers are bf16.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "engine/core/text.h"
#include "policy/nn/attention.h"
#include "policy/nn/layer_ops.h"
#include "policy/nn/policy.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

// A parameter used as it is (embedding, norm, bias): the leaf, and with bf16 its rounded values.
struct Plain {
  at::Tensor leaf, rounded;
  at::Tensor use() const { return rounded.defined() ? straight_through(leaf, rounded) : leaf; }
};

struct LayerWeights {
  Plain input_norm, post_attention_norm;
  FusedLinear qkv, out, gate_up, down;
  std::vector<Plain> qkv_bias;  // q, k, v; empty without biases
};

// Leaves by name, made out of the model's tensors.
class Leaves {
 public:
  explicit Leaves(const TensorMap& tensors) : tensors_(tensors) {}

  at::Tensor make(const std::string& name) {
    return place(name, at::empty(tensors_.at(name).shape, at::kFloat));
  }

  FusedLinear fuse(const std::vector<std::string>& names) {
    int64_t rows = 0;
    for (const std::string& name : names) rows += tensors_.at(name).shape[0];
    FusedLinear out;
    out.master = at::empty({rows, tensors_.at(names[0]).shape[1]}, at::kFloat);
    int64_t begin = 0;
    for (size_t i = 0; i < names.size(); ++i) {
      const int64_t n = tensors_.at(names[i]).shape[0];
      out.parts[i] = place(names[i], out.master.narrow(0, begin, n).variable_data());
      begin += n;
    }
    return out;
  }

  Status status() const { return status_; }
  NamedTensors in_name_order() const { return {leaves_.begin(), leaves_.end()}; }

 private:
  at::Tensor place(const std::string& name, at::Tensor storage) {
    Result<std::vector<float>> values = to_float(tensors_.at(name));
    if (values.ok()) {
      std::memcpy(storage.mutable_data_ptr<float>(), values->data(), values->size() * sizeof(float));
    } else if (status_.ok()) {
      status_ = values.status().with_context("tensor " + in_quotes(name));
    }
    storage.set_requires_grad(true);
    leaves_.emplace(name, storage);
    return storage;
  }

  const TensorMap& tensors_;
  std::map<std::string, at::Tensor> leaves_;
  Status status_;
};

class Llama final : public Policy {
 public:
  Llama(const ModelSpec& spec, const PolicyOptions& options, Leaves& leaves)
      : spec_(spec), options_(options) {
    embedding_.leaf = leaves.make("model.embed_tokens.weight");
    final_norm_.leaf = leaves.make("model.norm.weight");
    if (spec.score_head) {
      score_.leaf = leaves.make("score.weight");
    } else {
      head_.leaf = spec.tie_word_embeddings ? embedding_.leaf : leaves.make("lm_head.weight");
    }
    for (int64_t i = 0; i < spec.num_hidden_layers; ++i)
      add_layer("model.layers." + std::to_string(i) + ".", leaves);
    parameters_ = leaves.in_name_order();
    refresh();
  }

  const ModelSpec& spec() const override { return spec_; }
  const NamedTensors& parameters() const override { return parameters_; }
  void parameters_changed() override { refresh(); }
  at::Tensor output_weight() const override { return head_.use(); }
  at::Tensor score_weight() const override { return score_.use(); }

  at::Tensor hidden(const TrainBatch& batch) override {
    const at::Tensor ids_T = at::tensor(at::ArrayRef<TokenId>(batch.tokens), at::kInt);
    const AttentionContext context{{spec_.num_attention_heads, spec_.num_key_value_heads, spec_.head_dim},
                                   make_rope_table(spec_, batch.positions),
                                   c10::make_intrusive<AttentionPlan>(batch)};
    at::Tensor x_TD = at::embedding(embedding_.use(), ids_T);
    const bool recompute = options_.gradient_checkpointing && at::GradMode::is_enabled();
    for (const LayerWeights& layer : layers_) {
      const auto run = [this, &layer, context](const at::Tensor& x) { return run_layer(x, layer, context); };
      x_TD = recompute ? checkpoint(x_TD, run) : run(x_TD);
    }
    return rms_norm(x_TD, final_norm_.use(), spec_.rms_norm_eps, at::kFloat);
  }

 private:
  void add_layer(const std::string& prefix, Leaves& leaves) {
    LayerWeights layer;
    layer.input_norm.leaf = leaves.make(prefix + "input_layernorm.weight");
    layer.post_attention_norm.leaf = leaves.make(prefix + "post_attention_layernorm.weight");
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    layer.qkv =
        leaves.fuse({attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"});
    layer.out = leaves.fuse({attention + "o_proj.weight"});
    layer.gate_up = leaves.fuse({mlp + "gate_proj.weight", mlp + "up_proj.weight"});
    layer.down = leaves.fuse({mlp + "down_proj.weight"});
    if (spec_.attention_bias) {
      for (const char* name : {"q_proj.bias", "k_proj.bias", "v_proj.bias"}) {
        layer.qkv_bias.push_back({leaves.make(attention + name), {}});
      }
    }
    layers_.push_back(std::move(layer));
  }

  at::Tensor run_layer(const at::Tensor& x_TD, const LayerWeights& layer,
                       const AttentionContext& context) const {
    at::Tensor qkv_TC =
        linear(rms_norm(x_TD, layer.input_norm.use(), spec_.rms_norm_eps, options_.dtype), layer.qkv);
    if (!layer.qkv_bias.empty()) {
      const auto& b = layer.qkv_bias;
      qkv_TC = qkv_TC + at::cat({b[0].use(), b[1].use(), b[2].use()}).to(options_.dtype);
    }
    const at::Tensor middle_TD = x_TD + linear(shared_prompt_attention(qkv_TC, context), layer.out);
    const at::Tensor normed_TD =
        rms_norm(middle_TD, layer.post_attention_norm.use(), spec_.rms_norm_eps, options_.dtype);
    return middle_TD + linear(swiglu(linear(normed_TD, layer.gate_up)), layer.down);
  }

  // Derives what the forward pass uses from the leaves.
  void refresh() {
    const at::NoGradGuard no_gradients;
    const bool exact = options_.dtype == at::kFloat;
    const auto round = [&](Plain& p) {
      if (!exact && p.leaf.defined()) p.rounded = p.leaf.detach().to(options_.dtype).to(at::kFloat);
    };
    for (Plain* p : {&embedding_, &final_norm_, &head_, &score_}) round(*p);
    if (spec_.tie_word_embeddings && !spec_.score_head) head_ = embedding_;
    for (LayerWeights& layer : layers_) {
      for (Plain* p : {&layer.input_norm, &layer.post_attention_norm}) round(*p);
      for (Plain& bias : layer.qkv_bias) round(bias);
      for (FusedLinear* w : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down})
        w->compute = w->master.to(options_.dtype);
    }
  }

  ModelSpec spec_;
  PolicyOptions options_;
  Plain embedding_, final_norm_, head_, score_;  // of the heads, the one the model has
  std::vector<LayerWeights> layers_;
  NamedTensors parameters_;
};

}  // namespace

Result<std::unique_ptr<Policy>> Policy::create(const Model& model, const PolicyOptions& options) {
  if (!options.device.is_cpu()) return invalid_argument("the model can only learn on the CPU in this build");
  if (options.dtype != at::kFloat && options.dtype != at::kBFloat16) {
    return invalid_argument("the model can learn in float32 or bfloat16 only");
  }
  TRY_DO(check_tensors(model.spec, model.tensors));
  return catch_torch("cannot build the model", [&]() -> Result<std::unique_ptr<Policy>> {
    Leaves leaves(model.tensors);
    std::unique_ptr<Policy> policy = std::make_unique<Llama>(model.spec, options, leaves);
    TRY_DO(leaves.status());
    return policy;
  });
}

}  // namespace fulcrum
