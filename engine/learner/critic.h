// PPO's critic: V(state before each target). A model of its own with a score head, or a head on the policy's
// last hidden states, whose body the value loss then trains too. Called by the learner. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "engine/core/status.h"
#include "engine/learner/trained_parameters.h"
#include "policy/nn/policy.h"

namespace fulcrum {

class Critic {
 public:
  // By config.critic; `start` is the policy as it starts. A head that no file holds starts at 0.
  // kInvalidArgument if value_model does not fit the policy's tokens.
  static Result<std::unique_ptr<Critic>> create(const Model& start, const LearnerConfig& config,
                                                const PolicyOptions& options);

  // Whether values() reads the policy's hidden states.
  bool shared() const { return model_ == nullptr; }
  // [N] fp32, with gradient. `policy_hidden_TD`: of the slice; undefined unless shared().
  at::Tensor values(const at::Tensor& policy_hidden_TD, const TrainBatch& slice);

  TrainedParameters& trained() { return trained_; }
  const TrainedParameters& trained() const { return trained_; }
  // Its part in a step; as TrainedParameters::update().
  AdamW::Clipped update(int64_t step, int64_t max_steps);
  // After trained() changed.
  void parameters_changed();

 private:
  Critic(std::unique_ptr<Policy> model, at::Tensor head_1D, NamedTensors leaves, const LearnerConfig& config);

  std::unique_ptr<Policy> model_;  // null when shared
  at::Tensor head_1D_;             // of a shared critic
  TrainedParameters trained_;
};

}  // namespace fulcrum
