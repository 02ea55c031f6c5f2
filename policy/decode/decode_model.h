// The model that generates: the weights of a Llama-family checkpoint in fp32, laid out once for the decode
// kernels (q, k and v as one matrix, gate and up as another). Made by whoever receives a version of the
// weights (LocalRollout, the worker, the `generate` verb), read by decoders. Immutable, shared between
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/core/status.h"
#include "engine/kernels/aligned.h"
#include "engine/kernels/attention/op.h"
#include "engine/kernels/matmul/op.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// Norm weights are padded with zeros to kernels::kRowAlign, as the kernels ask.
struct DecodeLayer {
  kernels::AlignedFloats attention_norm, mlp_norm;
  kernels::PackedMatrix qkv;        // outputs: q, then k from key_begin(), then v from value_begin()
  kernels::AlignedFloats qkv_bias;  // of the same places; empty if the model has none
  kernels::PackedMatrix attention_out;
  kernels::PackedMatrix gate_up;  // outputs: gate, then up from up_begin()
  kernels::PackedMatrix down;
};

class DecodeModel {
 public:
  // The tensors of expected_tensors(spec), of any float type. kInvalidArgument names what is missing,
  // misshapen or impossible. A tensor of embeddings that is fp32 already is used in place: its owner is kept.
  static Result<std::shared_ptr<const DecodeModel>> create(const ModelSpec& spec, const TensorMap& tensors);

  const ModelSpec& spec() const { return spec_; }
  const kernels::AttentionShape& attention() const { return attention_; }
  const std::vector<DecodeLayer>& layers() const { return layers_; }
  const kernels::AlignedFloats& final_norm() const { return final_norm_; }
  const kernels::PackedMatrix& head() const { return head_; }
  const float* embedding(TokenId id) const { return embedding_ + int64_t{id} * spec_.hidden_size; }

  // Where parts of a fused matrix's outputs begin: on kernels::kRowAlign.
  int64_t key_begin() const {
    return kernels::round_up(attention_.heads * attention_.head_dim, kernels::kRowAlign);
  }
  int64_t value_begin() const {
    return key_begin() + kernels::round_up(attention_.kv_heads * attention_.head_dim, kernels::kRowAlign);
  }
  int64_t up_begin() const { return kernels::round_up(spec_.intermediate_size, kernels::kRowAlign); }

 private:
  DecodeModel() = default;
  Status load(const TensorMap& tensors);
  Status load_layer(const TensorMap& tensors, int64_t index);
  Status load_embedding(const TensorView& tensor);

  ModelSpec spec_;
  kernels::AttentionShape attention_;
  std::vector<DecodeLayer> layers_;
  kernels::AlignedFloats final_norm_;
  kernels::PackedMatrix head_;
  const float* embedding_ = nullptr;  // [vocab_size, hidden_size]
  std::shared_ptr<const void> embedding_owner_;
};

}  // namespace fulcrum
