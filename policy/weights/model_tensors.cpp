// The tensors of a Llama-family model: their names and shapes, the check, and a model with random ones.
#include <utility>

#include "engine/core/rng.h"
#include "engine/core/text.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {
namespace {

constexpr double kInitialStd = 0.02;  // transformers' initializer_range

}  // namespace

std::map<std::string, std::vector<int64_t>> expected_tensors(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden_size, inner = spec.intermediate_size;
  const int64_t q = spec.num_attention_heads * spec.head_dim, kv = spec.num_key_value_heads * spec.head_dim;
  std::map<std::string, std::vector<int64_t>> out;
  out["model.embed_tokens.weight"] = {spec.vocab_size, hidden};
  out["model.norm.weight"] = {hidden};
  if (spec.score_head) {
    out["score.weight"] = {1, hidden};
  } else if (!spec.tie_word_embeddings) {
    out["lm_head.weight"] = {spec.vocab_size, hidden};
  }
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    out[layer + "input_layernorm.weight"] = {hidden};
    out[layer + "post_attention_layernorm.weight"] = {hidden};
    out[layer + "self_attn.q_proj.weight"] = {q, hidden};
    out[layer + "self_attn.k_proj.weight"] = {kv, hidden};
    out[layer + "self_attn.v_proj.weight"] = {kv, hidden};
    out[layer + "self_attn.o_proj.weight"] = {hidden, q};
    out[layer + "mlp.gate_proj.weight"] = {inner, hidden};
    out[layer + "mlp.up_proj.weight"] = {inner, hidden};
    out[layer + "mlp.down_proj.weight"] = {hidden, inner};
    if (!spec.attention_bias) continue;
    out[layer + "self_attn.q_proj.bias"] = {q};
    out[layer + "self_attn.k_proj.bias"] = {kv};
    out[layer + "self_attn.v_proj.bias"] = {kv};
  }
  return out;
}

Status check_tensors(const ModelSpec& spec, const TensorMap& tensors) {
  const auto expected = expected_tensors(spec);
  for (const auto& [name, shape] : expected) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) return invalid_argument("tensor " + in_quotes(name) + " is missing");
    if (it->second.shape != shape) {
      return invalid_argument("tensor " + in_quotes(name) + " has shape " + shape_text(it->second.shape) +
                              "; the config says " + shape_text(shape));
    }
    if (!is_floating(it->second.dtype)) {
      return invalid_argument("tensor " + in_quotes(name) + " has type " +
                              std::string(dtype_name(it->second.dtype)) +
                              "; weights must be F32, F16, BF16 or F64");
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!expected.contains(name)) {
      return invalid_argument("tensor " + in_quotes(name) + " is not one of a " + spec.model_type + " model");
    }
  }
  return ok_status();
}

Model random_model(const ModelSpec& spec, uint64_t seed) {
  Model out;
  out.spec = spec;
  out.spec.dtype = DType::kF32;
  uint64_t index = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    int64_t numel = 1;
    for (const int64_t d : shape) numel *= d;
    std::vector<float> values(static_cast<size_t>(numel));
    if (shape.size() == 2) {
      Rng rng(seed, Purpose::kInitialWeights, {index});
      for (float& v : values) v = static_cast<float>(kInitialStd * rng.normal());
    } else if (name.ends_with("norm.weight")) {
      values.assign(values.size(), 1.0f);
    }  // biases stay 0
    out.tensors.emplace(name, make_tensor(shape, values));
    ++index;
  }
  return out;
}

Model as_score_model(Model model) {
  if (model.spec.score_head) return model;
  model.spec.score_head = true;
  model.tensors.erase("lm_head.weight");
  const std::vector<float> zeros(static_cast<size_t>(model.spec.hidden_size), 0.0F);
  model.tensors.emplace("score.weight", make_tensor({1, model.spec.hidden_size}, zeros));
  return model;
}

}  // namespace fulcrum
