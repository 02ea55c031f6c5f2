#include "policy/decode/device/device_model.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/core/half.h"
#include "engine/core/text.h"
#include "policy/decode/decode_model.h"
#include "policy/decode/device/stream.h"

namespace fulcrum {
namespace {

constexpr int64_t kPortion = int64_t{2} << 20;  // numbers that are converted and sent at a time

}  // namespace

struct DeviceModel::Piece {
  std::string name;
  int64_t offset = 0;
  bool fp32 = false;
};

DeviceModel::DeviceModel(const ModelSpec& spec, DType dtype, const kernels::DecodeKernels& kernels,
                         int32_t device)
    : kernels_(kernels),
      device_(device),
      spec_(spec),
      type_(dtype == DType::kBF16 ? kernels::ActivationType::kBf16 : kernels::ActivationType::kF32) {}

Result<std::shared_ptr<const DeviceModel>> DeviceModel::create(const ModelSpec& spec,
                                                               const TensorMap& tensors, DType dtype,
                                                               const kernels::DecodeKernels& kernels,
                                                               int32_t device) {
  TRY_DO(check_decodable(spec, tensors, dtype));
  std::shared_ptr<DeviceModel> model(new DeviceModel(spec, dtype, kernels, device));
  TRY_DO(model->load(tensors));
  return std::shared_ptr<const DeviceModel>(std::move(model));
}

namespace {

constexpr kernels::DecodeKernels kNoKernels{};

}  // namespace

std::shared_ptr<const DeviceModel> DeviceModel::shape(const ModelSpec& spec, DType dtype) {
  return std::shared_ptr<const DeviceModel>(new DeviceModel(spec, dtype, kNoKernels, 0));
}

int64_t DeviceModel::bytes(const ModelSpec& spec, DType dtype) {
  DeviceModel model(spec, dtype, kNoKernels, 0);
  int64_t out = 0;
  model.place(nullptr, &out);
  return out;
}

// Points the members into `memory`, which may be null to learn how many bytes that takes, and says what comes
// where.
std::vector<DeviceModel::Piece> DeviceModel::place(const void* memory, int64_t* bytes) {
  layers_.clear();
  Places places;
  std::vector<Piece> pieces;
  // Tensors that follow one another without a gap: one matrix.
  const auto together = [&](std::initializer_list<std::pair<std::string, int64_t>> parts, bool fp32) {
    const int64_t size = fp32 ? int64_t{sizeof(float)} : type_bytes(type_);
    int64_t all = 0;
    for (const auto& [name, numbers] : parts) all += numbers * size;
    const int64_t begin = places.add(all);
    int64_t at = begin;
    for (const auto& [name, numbers] : parts) {
      pieces.push_back({name, at, fp32});
      at += numbers * size;
    }
    return reinterpret_cast<uintptr_t>(memory) + static_cast<uintptr_t>(begin);
  };
  const auto matrix = [&](std::initializer_list<std::pair<std::string, int64_t>> parts) {
    return reinterpret_cast<const void*>(together(parts, false));
  };
  const auto vector = [&](std::initializer_list<std::pair<std::string, int64_t>> parts) {
    return reinterpret_cast<const float*>(together(parts, true));
  };
  const int64_t hidden = spec_.hidden_size, inner = spec_.intermediate_size, query = query_width(),
                kv = spec_.num_key_value_heads * spec_.head_dim;
  embedding_ = matrix({{"model.embed_tokens.weight", spec_.vocab_size * hidden}});
  head_ = spec_.tie_word_embeddings ? embedding_ : matrix({{"lm_head.weight", spec_.vocab_size * hidden}});
  final_norm_ = vector({{"model.norm.weight", hidden}});
  for (int64_t i = 0; i < spec_.num_hidden_layers; ++i) {
    const std::string name = "model.layers." + std::to_string(i) + ".", attention = name + "self_attn.";
    DeviceLayer& layer = layers_.emplace_back();
    layer.attention_norm = vector({{name + "input_layernorm.weight", hidden}});
    layer.mlp_norm = vector({{name + "post_attention_layernorm.weight", hidden}});
    layer.qkv = matrix({{attention + "q_proj.weight", query * hidden},
                        {attention + "k_proj.weight", kv * hidden},
                        {attention + "v_proj.weight", kv * hidden}});
    if (spec_.attention_bias) {
      layer.qkv_bias = vector({{attention + "q_proj.bias", query},
                               {attention + "k_proj.bias", kv},
                               {attention + "v_proj.bias", kv}});
    }
    layer.attention_out = matrix({{attention + "o_proj.weight", query * hidden}});
    layer.gate_up = matrix(
        {{name + "mlp.gate_proj.weight", inner * hidden}, {name + "mlp.up_proj.weight", inner * hidden}});
    layer.down = matrix({{name + "mlp.down_proj.weight", inner * hidden}});
  }
  *bytes = places.bytes();
  return pieces;
}

namespace {

// Rounds to bf16 as DecodeModel does, and writes numbers of the piece's type to `to`.
void convert(std::span<const float> values, bool bf16_values, bool fp32, void* to) {
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t rounded = bf16_values ? float_to_bf16(values[i]) : uint16_t{0};
    if (fp32) {
      static_cast<float*>(to)[i] = bf16_values ? bf16_to_float(rounded) : values[i];
    } else {
      static_cast<uint16_t*>(to)[i] = rounded;
    }
  }
}

}  // namespace

Status DeviceModel::load(const TensorMap& tensors) {
  TRY(work, DeviceWork::make(kernels_, device_, false));
  int64_t bytes = 0;
  place(nullptr, &bytes);
  auto memory = device_bytes(kernels_, bytes);
  if (!memory.ok()) return memory.status().with_context("weights");
  memory_ = std::move(memory).value();
  auto* base = static_cast<std::byte*>(memory_.get());
  const std::vector<Piece> pieces = place(base, &bytes);
  TRY(staging, page_locked_bytes(kernels_, kPortion * int64_t{sizeof(float)}));
  const bool bf16 = type_ == kernels::ActivationType::kBf16;
  for (const Piece& piece : pieces) {
    const TensorView& tensor = tensors.at(piece.name);
    const bool fp32 = piece.fp32 || !bf16;
    const int64_t size = fp32 ? int64_t{sizeof(float)} : 2;
    for (int64_t begin = 0; begin < tensor.numel(); begin += kPortion) {
      const int64_t n = std::min(kPortion, tensor.numel() - begin);
      const auto values = to_float(tensor.elements(begin, n));
      if (!values.ok()) return values.status().with_context("weights: tensor " + in_quotes(piece.name));
      convert(*values, bf16, fp32, staging.get());
      int error =
          kernels_.upload(base + piece.offset + begin * size, staging.get(), n * size, work->stream());
      if (error == 0) error = kernels_.synchronise(work->stream());  // the staging is used again
      TRY_DO(device_status(kernels_, error, "weights cannot be sent"));
    }
  }
  return ok_status();
}

}  // namespace fulcrum
