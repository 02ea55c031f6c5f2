// The model that learns: a Llama-family transformer on LibTorch over packed tokens with shared prompts.
// Called by the learner, the references, the `logps` verb and reward models. Not thread-safe; one user at a
// time.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct PolicyOptions {
  at::ScalarType dtype = at::kFloat;  // of the forward pass
  at::Device device = at::kCPU;
  bool gradient_checkpointing = false;
};

class Policy {
 public:
  // kInvalidArgument if tensors are missing or misshapen.
  static Result<std::unique_ptr<Policy>> create(const Model& model, const PolicyOptions& options);
  virtual ~Policy() = default;

  virtual const ModelSpec& spec() const = 0;
  // Hidden states after the final norm, [T, D] in PolicyOptions::dtype, of the batch's packed tokens
  // (engine/types/train_batch.h gives the layout). With gradients unless under at::NoGradGuard.
  virtual at::Tensor hidden(const TrainBatch& batch) = 0;
  // [V, D]; the embedding when tied. Undefined for a model with a score head.
  virtual at::Tensor output_weight() const = 0;
  // The parameter that it is, or is rounded from.
  virtual at::Tensor output_leaf() const = 0;
  // [1, D], of a model with a score head (spec().score_head); undefined for one with a language head.
  virtual at::Tensor score_weight() const = 0;
  // fp32 leaves in name order (HF names); tied weights once.
  virtual const NamedTensors& parameters() const = 0;
  // After the parameters changed (the optimizer stepped): refresh what was derived from them.
  virtual void parameters_changed() = 0;
  // With bf16, where the rounded values of each parameter are kept, shaped like it, in bf16 or in fp32: who
  // changes the parameters may write them in the same pass, in place of parameters_changed(). Else empty.
  virtual std::vector<at::Tensor> rounded() const { return {}; }
};

struct HeadMemory;  // head_memory.h

// log softmax(hidden W^T / temperature)[id], [N] fp32, with gradient to hidden and W; logits exist for
// `chunk` targets at a time, forward and backward. `entropy_N`, if given, receives the entropy of each
// distribution (no gradient). hidden_ND: rows already gathered at the targets' sources; where they are in
// bf16 the products are too (engine/kernels/gemm), with fp32 sums and logits, else in fp32. ids_N int64.
at::Tensor token_logps(const at::Tensor& hidden_ND, const at::Tensor& weight_VD, const at::Tensor& ids_N,
                       double temperature, int64_t chunk, at::Tensor* entropy_N = nullptr,
                       HeadMemory* memory = nullptr);

// hidden W^T, [N] fp32, with gradient to both: a critic's values at states, a reward model's scores.
at::Tensor scores(const at::Tensor& hidden_ND, const at::Tensor& weight_1D);

// The log-probs of every target of the batch, [N] fp32, no gradient: old, reference and stored log-probs.
// Splits the batch by `max_tokens`. kInvalidArgument for ids outside the vocabulary; kInternal (naming
// torch's message) on failure.
Result<std::vector<float>> batch_logps(Policy& policy, const TrainBatch& batch, double temperature,
                                       int64_t max_tokens, int64_t chunk, std::stop_token stop);

}  // namespace fulcrum
