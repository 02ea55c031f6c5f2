#include "policy/decode/decode_model.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "engine/core/half.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

using kernels::AlignedFloats;

Status check_spec(const ModelSpec& s) {
  const std::pair<const char*, int64_t> sizes[] = {{"vocab_size", s.vocab_size},
                                                   {"hidden_size", s.hidden_size},
                                                   {"intermediate_size", s.intermediate_size},
                                                   {"num_hidden_layers", s.num_hidden_layers},
                                                   {"num_attention_heads", s.num_attention_heads},
                                                   {"num_key_value_heads", s.num_key_value_heads},
                                                   {"head_dim", s.head_dim},
                                                   {"max_position_embeddings", s.max_position_embeddings}};
  for (const auto& [name, value] : sizes) {
    if (value <= 0) return invalid_argument(std::string("model config: ") + name + " must be above 0");
  }
  if (s.num_attention_heads % s.num_key_value_heads != 0) {
    return invalid_argument("model config: num_attention_heads " + std::to_string(s.num_attention_heads) +
                            " is not a multiple of num_key_value_heads " +
                            std::to_string(s.num_key_value_heads));
  }
  if (s.head_dim % 2 != 0) {
    return invalid_argument("model config: head_dim " + std::to_string(s.head_dim) +
                            " is odd; rotary embeddings turn pairs");
  }
  return ok_status();
}

void round_to_bf16(std::span<float> values) {
  for (float& v : values) v = bf16_to_float(float_to_bf16(v));
}

}  // namespace

Status check_decodable(const ModelSpec& spec, const TensorMap& tensors, DType dtype) {
  TRY_DO(check_spec(spec));
  if (dtype != DType::kF32 && dtype != DType::kBF16)
    return invalid_argument("a model generates in float32 or bfloat16, not in " +
                            std::string(dtype_name(dtype)));
  if (spec.score_head)
    return invalid_argument("the model is a reward model: it scores texts and cannot generate them");
  return check_tensors(spec, tensors).with_context("weights");
}

Result<std::shared_ptr<const DecodeModel>> DecodeModel::create(const ModelSpec& spec,
                                                               const TensorMap& tensors, DType dtype) {
  TRY_DO(check_decodable(spec, tensors, dtype));
  std::shared_ptr<DecodeModel> model(new DecodeModel());
  model->spec_ = spec;
  model->dtype_ = dtype;
  model->attention_ = {spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim,
                       static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.head_dim)))};
  TRY_DO(model->load(tensors));
  return std::shared_ptr<const DecodeModel>(std::move(model));
}

Result<std::vector<float>> DecodeModel::values_of(const TensorMap& tensors, const std::string& name) const {
  auto values = to_float(tensors.at(name));
  if (!values.ok()) return values.status().with_context("weights: tensor " + in_quotes(name));
  if (dtype_ == DType::kBF16) round_to_bf16(*values);
  return values;
}

Result<AlignedFloats> DecodeModel::padded(const TensorMap& tensors, const std::string& name) const {
  TRY(values, values_of(tensors, name));
  AlignedFloats out(kernels::round_up(static_cast<int64_t>(values.size()), kernels::kRowAlign));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

Status DecodeModel::pack(const TensorMap& tensors, const std::string& name, int64_t first,
                         WeightMatrix& to) const {
  TRY(values, values_of(tensors, name));
  to.set_outputs(first, static_cast<int64_t>(values.size()) / to.inputs(), values.data());
  return ok_status();
}

Status DecodeModel::add_bias(const TensorMap& tensors, const std::string& name, int64_t first,
                             AlignedFloats& to) const {
  TRY(values, values_of(tensors, name));
  std::copy(values.begin(), values.end(), to.data() + first);
  return ok_status();
}

Status DecodeModel::load(const TensorMap& tensors) {
  TRY_DO(load_embedding(tensors));
  TRY(final_norm, padded(tensors, "model.norm.weight"));
  final_norm_ = std::move(final_norm);
  head_ = WeightMatrix(dtype_, spec_.vocab_size, spec_.hidden_size);
  if (spec_.tie_word_embeddings) {
    head_.set_outputs(0, spec_.vocab_size, embedding_);
  } else {
    TRY_DO(pack(tensors, "lm_head.weight", 0, head_));
  }
  layers_.resize(static_cast<size_t>(spec_.num_hidden_layers));
  for (int64_t i = 0; i < spec_.num_hidden_layers; ++i) TRY_DO(load_layer(tensors, i));
  return ok_status();
}

Status DecodeModel::load_layer(const TensorMap& tensors, int64_t index) {
  const std::string name = "model.layers." + std::to_string(index) + ".", attention = name + "self_attn.";
  DecodeLayer& layer = layers_[static_cast<size_t>(index)];
  TRY(attention_norm, padded(tensors, name + "input_layernorm.weight"));
  TRY(mlp_norm, padded(tensors, name + "post_attention_layernorm.weight"));
  layer.attention_norm = std::move(attention_norm);
  layer.mlp_norm = std::move(mlp_norm);

  const int64_t hidden = spec_.hidden_size, query_width = attention_.heads * attention_.head_dim;
  layer.qkv = WeightMatrix(dtype_, value_begin() + attention_.kv_heads * attention_.head_dim, hidden);
  TRY_DO(pack(tensors, attention + "q_proj.weight", 0, layer.qkv));
  TRY_DO(pack(tensors, attention + "k_proj.weight", key_begin(), layer.qkv));
  TRY_DO(pack(tensors, attention + "v_proj.weight", value_begin(), layer.qkv));
  if (spec_.attention_bias) {
    layer.qkv_bias = AlignedFloats(layer.qkv.padded_outputs());
    TRY_DO(add_bias(tensors, attention + "q_proj.bias", 0, layer.qkv_bias));
    TRY_DO(add_bias(tensors, attention + "k_proj.bias", key_begin(), layer.qkv_bias));
    TRY_DO(add_bias(tensors, attention + "v_proj.bias", value_begin(), layer.qkv_bias));
  }
  layer.attention_out = WeightMatrix(dtype_, hidden, query_width);
  TRY_DO(pack(tensors, attention + "o_proj.weight", 0, layer.attention_out));

  layer.gate_up = WeightMatrix(dtype_, up_begin() + spec_.intermediate_size, hidden);
  TRY_DO(pack(tensors, name + "mlp.gate_proj.weight", 0, layer.gate_up));
  TRY_DO(pack(tensors, name + "mlp.up_proj.weight", up_begin(), layer.gate_up));
  layer.down = WeightMatrix(dtype_, hidden, spec_.intermediate_size);
  return pack(tensors, name + "mlp.down_proj.weight", 0, layer.down);
}

Status DecodeModel::load_embedding(const TensorMap& tensors) {
  const char* name = "model.embed_tokens.weight";
  const TensorView& tensor = tensors.at(name);
  const auto address = reinterpret_cast<uintptr_t>(tensor.bytes.data());
  if (dtype_ == DType::kF32 && tensor.dtype == DType::kF32 && address % alignof(float) == 0) {
    embedding_ = reinterpret_cast<const float*>(tensor.bytes.data());
    embedding_owner_ = tensor.owner;
    return ok_status();
  }
  TRY(values, values_of(tensors, name));
  auto copy = std::make_shared<const std::vector<float>>(std::move(values));
  embedding_ = copy->data();
  embedding_owner_ = std::move(copy);
  return ok_status();
}

}  // namespace fulcrum
