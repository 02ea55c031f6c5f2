// The model that generates: the weights of a Llama-family checkpoint in fp32 or bf16, laid out once for the
// decode kernels (q, k and v as one matrix, gate and up as another). Made by whoever receives a version of
// the weights (LocalRollout, the worker, the `generate` verb), read by decoders. Immutable, shared between
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/kernels/aligned.h"
#include "engine/kernels/attention/op.h"
#include "policy/decode/weight_matrix.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// kInvalidArgument: the model cannot generate, or the tensors are not expected_tensors(spec). For those who
// make a model of them.
Status check_decodable(const ModelSpec& spec, const TensorMap& tensors, DType dtype);

// Norm weights have room to kernels::kRowAlign, zeros past the end.
struct DecodeLayer {
  kernels::AlignedFloats attention_norm, mlp_norm;
  WeightMatrix qkv;                 // outputs: q, then k from key_begin(), then v from value_begin()
  kernels::AlignedFloats qkv_bias;  // of the same places; empty if the model has none
  WeightMatrix attention_out;
  WeightMatrix gate_up;  // outputs: gate, then up from up_begin()
  WeightMatrix down;
};

class DecodeModel {
 public:
  // The tensors of expected_tensors(spec), of any float type. kInvalidArgument names what is missing,
  // misshapen or impossible. For fp32 a tensor of embeddings that is fp32 already is used in place: its owner
  // is kept.
  //
  // `dtype` kF32: strict fp32. kBF16: every weight is rounded to bf16 as the learner's bf16 forward pass
  // rounds it; a product's input is rounded too, sums, norms, attention and the residual stream stay fp32.
  static Result<std::shared_ptr<const DecodeModel>> create(const ModelSpec& spec, const TensorMap& tensors,
                                                           DType dtype = DType::kF32);

  DType dtype() const { return dtype_; }
  const ModelSpec& spec() const { return spec_; }
  const kernels::AttentionShape& attention() const { return attention_; }
  const std::vector<DecodeLayer>& layers() const { return layers_; }
  const kernels::AlignedFloats& final_norm() const { return final_norm_; }
  const WeightMatrix& head() const { return head_; }
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
  Status load_embedding(const TensorMap& tensors);
  Result<std::vector<float>> values_of(const TensorMap& tensors, const std::string& name) const;
  Result<kernels::AlignedFloats> padded(const TensorMap& tensors, const std::string& name) const;
  // Puts a [n, inputs] tensor at the outputs from `first` on.
  Status pack(const TensorMap& tensors, const std::string& name, int64_t first, WeightMatrix& to) const;
  Status add_bias(const TensorMap& tensors, const std::string& name, int64_t first,
                  kernels::AlignedFloats& to) const;

  ModelSpec spec_;
  DType dtype_ = DType::kF32;
  kernels::AttentionShape attention_;
  std::vector<DecodeLayer> layers_;
  kernels::AlignedFloats final_norm_;
  WeightMatrix head_;
  const float* embedding_ = nullptr;  // [vocab_size, hidden_size]
  std::shared_ptr<const void> embedding_owner_;
};

}  // namespace fulcrum
