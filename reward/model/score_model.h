// A trained reward model, loaded: scores of prompts with completions. Called by the reward `model` and by
// `fulcrum eval` of a reward model. Thread-safe; callers wait for each other.
#pragma once

#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "engine/core/clock.h"
#include "engine/core/status.h"
#include "policy/nn/policy.h"

namespace fulcrum {

class ScoreModel {
 public:
  // kInvalidArgument for a model without a score head.
  static Result<std::unique_ptr<ScoreModel>> create(const Model& model);

  const ModelSpec& spec() const { return policy_->spec(); }

  // One score a row of the batch, at its last token. kCancelled, kDeadlineExceeded between passes; kDataLoss
  // if a score is not finite.
  Result<std::vector<double>> scores(const TrainBatch& batch, Deadline deadline, std::stop_token stop);

 private:
  explicit ScoreModel(std::unique_ptr<Policy> policy) : policy_(std::move(policy)) {}
  Result<std::vector<double>> run(const TrainBatch& batch, Deadline deadline, const std::stop_token& stop);

  std::mutex mutex_;
  std::unique_ptr<Policy> policy_;  // one user at a time
};

}  // namespace fulcrum
