// The Llama family (Llama, Mistral, Qwen2) over packed tokens: embedding, layers of attention and SwiGLU with
// RMS norms before them, final norm. The residual stream, the norms and the head stay fp32; with bf16 the
// weights are the bf16-rounded ones everywhere and the products inside the layers are bf16.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <map>

#include "engine/core/text.h"
#include "policy/nn/embedding.h"
#include "policy/nn/layer.h"
#include "policy/nn/placed.h"
#include "policy/nn/policy.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

// Leaves by name, made out of the model's tensors.
class Leaves {
 public:
  Leaves(const TensorMap& tensors, at::Device device) : tensors_(tensors), options_(device) {}

  at::Tensor make(const std::string& name) {
    return place(name, at::empty(tensors_.at(name).shape, options_));
  }

  FusedLinear fuse(const std::vector<std::string>& names) {
    int64_t rows = 0;
    for (const std::string& name : names) rows += tensors_.at(name).shape[0];
    FusedLinear out;
    out.master = at::empty({rows, tensors_.at(names[0]).shape[1]}, options_);
    int64_t begin = 0;
    for (size_t i = 0; i < names.size(); ++i) {
      const int64_t n = tensors_.at(names[i]).shape[0];
      out.parts.push_back(place(names[i], out.master.narrow(0, begin, n).variable_data()));
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
      storage.copy_(at::from_blob(values->data(), storage.sizes(), at::kFloat));
    } else if (status_.ok()) {
      status_ = values.status().with_context("tensor " + in_quotes(name));
    }
    storage.set_requires_grad(true);
    leaves_.emplace(name, storage);
    return storage;
  }

  const TensorMap& tensors_;
  at::TensorOptions options_;  // fp32
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
  std::vector<at::Tensor> rounded() const override;
  at::Tensor output_weight() const override { return head_.use(); }
  at::Tensor output_leaf() const override { return head_.leaf; }
  at::Tensor score_weight() const override { return score_.use(); }

  at::Tensor hidden(const TrainBatch& batch) override {
    const at::Tensor ids_T = placed(batch.tokens, options_.device);
    const auto attention = attention_context(spec_, batch, options_.device, options_.dtype);
    const LayerOptions options{spec_.rms_norm_eps,
                               options_.gradient_checkpointing && at::GradMode::is_enabled()};
    at::Tensor x_TD = embed(embedding_, ids_T);
    for (const LayerWeights& layer : layers_) x_TD = transformer_layer(x_TD, layer, attention, options);
    return rms_norm(x_TD, final_norm_, spec_.rms_norm_eps).to(options_.dtype);
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

std::vector<at::Tensor> Llama::rounded() const {
  if (options_.dtype == at::kFloat) return {};
  std::map<const at::TensorImpl*, at::Tensor> copies;  // by leaf
  const auto add = [&](const Plain& p) { copies.emplace(p.leaf.unsafeGetTensorImpl(), p.rounded); };
  for (const Plain* p : {&embedding_, &final_norm_, &head_, &score_}) add(*p);
  for (const LayerWeights& layer : layers_) {
    for (const Plain* p : {&layer.input_norm, &layer.post_attention_norm}) add(*p);
    for (const Plain& bias : layer.qkv_bias) add(bias);
    for (const FusedLinear* w : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
      int64_t begin = 0;
      for (const at::Tensor& part : w->parts) {
        copies.emplace(part.unsafeGetTensorImpl(), w->compute.narrow(0, begin, part.size(0)));
        begin += part.size(0);
      }
    }
  }
  std::vector<at::Tensor> out;
  for (const auto& [name, leaf] : parameters_) out.push_back(copies.at(leaf.unsafeGetTensorImpl()));
  return out;
}

}  // namespace

Result<std::unique_ptr<Policy>> Policy::create(const Model& model, const PolicyOptions& options) {
  if (options.dtype != at::kFloat && options.dtype != at::kBFloat16) {
    return invalid_argument("the model can learn in float32 or bfloat16 only");
  }
  TRY_DO(check_tensors(model.spec, model.tensors));
  return catch_torch("cannot build the model", [&]() -> Result<std::unique_ptr<Policy>> {
    Leaves leaves(model.tensors, options.device);
    std::unique_ptr<Policy> policy = std::make_unique<Llama>(model.spec, options, leaves);
    TRY_DO(leaves.status());
    return policy;
  });
}

}  // namespace fulcrum
