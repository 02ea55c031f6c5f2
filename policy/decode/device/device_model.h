// The model that generates on an accelerator: the weights of a Llama-family checkpoint in fp32 or bf16 in the
// device's memory, q, k and v as one matrix, gate and up as another. Made by whoever receives a version of
// the weights (rollout/make_generator.h), read by DeviceDecoder. Immutable, shared between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/kernels/device/decode_table.h"
#include "policy/decode/device/memory.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// Norms and biases are fp32, matrices of the model's type.
struct DeviceLayer {
  const float* attention_norm = nullptr;
  const float* mlp_norm = nullptr;
  const void* qkv = nullptr;        // outputs: q, k, v
  const float* qkv_bias = nullptr;  // null if the model has none
  const void* attention_out = nullptr;
  const void* gate_up = nullptr;  // outputs: gate, up
  const void* down = nullptr;
};

class DeviceModel {
 public:
  // What DecodeModel::create takes and refuses, with the same words. kResourceExhausted where the device's
  // memory is short. `kernels` outlives the model; `device` is that of this thread from now on.
  static Result<std::shared_ptr<const DeviceModel>> create(const ModelSpec& spec, const TensorMap& tensors,
                                                           DType dtype, const kernels::DecodeKernels& kernels,
                                                           int32_t device = 0);

  // One without weights, for what takes sizes from it; and the bytes that its weights would take.
  static std::shared_ptr<const DeviceModel> shape(const ModelSpec& spec, DType dtype);
  static int64_t bytes(const ModelSpec& spec, DType dtype);

  const kernels::DecodeKernels& kernels() const { return kernels_; }
  int32_t device() const { return device_; }
  const ModelSpec& spec() const { return spec_; }
  kernels::ActivationType type() const { return type_; }
  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const float* final_norm() const { return final_norm_; }
  const void* embedding() const { return embedding_; }
  const void* head() const { return head_; }

  int64_t query_width() const { return spec_.num_attention_heads * spec_.head_dim; }
  int64_t qkv_width() const { return query_width() + 2 * spec_.num_key_value_heads * spec_.head_dim; }

 private:
  struct Piece;  // a tensor on its way to its place

  DeviceModel(const ModelSpec& spec, DType dtype, const kernels::DecodeKernels& kernels, int32_t device);
  std::vector<Piece> place(const void* memory, int64_t* bytes);
  Status load(const TensorMap& tensors);

  const kernels::DecodeKernels& kernels_;
  int32_t device_;
  ModelSpec spec_;
  kernels::ActivationType type_;
  OwnedBytes memory_;
  std::vector<DeviceLayer> layers_;
  const float* final_norm_ = nullptr;
  const void* embedding_ = nullptr;
  const void* head_ = nullptr;
};

}  // namespace fulcrum
