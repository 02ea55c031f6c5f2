// What the policy is held to: a frozen model, a moving average of the policy, or a soup of models. Called by
// the learner. Has a version and a content hash, so that every log-prob can be traced to the weights that
// gave it.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/reference/reference_config.h"
#include "engine/types/train_batch.h"
#include "policy/nn/policy.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

class Reference {
 public:
  virtual ~Reference() = default;
  // Log-probs of the batch's targets at the rollout temperature, [N].
  virtual Result<std::vector<float>> logps(const TrainBatch& batch, double temperature, int64_t max_tokens,
                                           int64_t chunk, std::stop_token stop) = 0;
  // The model itself, for exact divergences; null if it is not kept in memory (cached log-probs).
  virtual Policy* model() { return nullptr; }
  // Tells it that optimizer step `step` (from 1) is done; a moving reference may take up the policy's
  // weights.
  virtual Status after_step(int64_t step, const Policy& policy) = 0;
  virtual int64_t version() const = 0;  // 0, +1 with each move
  virtual const std::string& content_hash() const = 0;
  virtual std::string origin() const = 0;  // in words: "ref_model 'path'", "soup of 2 models"
  virtual bool is_soup() const = 0;
  // Weights of a moving reference for the checkpoint; empty when it is rebuilt from its files.
  virtual TensorMap save() const = 0;
  virtual Status load(const TensorMap& tensors, int64_t version) = 0;
};

// The content hash that make_reference()'s would have, without building it: of the weights in fp32.
Result<std::string> reference_content_hash(const ReferenceConfig& config, const Model& start);

// `start` is the policy as it starts. kInvalidArgument: options that exclude each other, models of another
// shape or vocabulary (naming the first difference).
Result<std::unique_ptr<Reference>> make_reference(const ReferenceConfig& config, const Model& start,
                                                  const PolicyOptions& options);

}  // namespace fulcrum
