// The models the learner moves: the policy, and the critic where the objective needs values. They step
// together, so that one count of updates stands for both. Called by the learner. Not thread-safe.
#pragma once

#include <cmath>
#include <memory>
#include <optional>

#include "engine/collective/collective.h"
#include "engine/learner/critic.h"
#include "engine/learner/micro_batch.h"
#include "engine/learner/trained_parameters.h"

namespace fulcrum {

class TrainedModels {
 public:
  // `critic` may be null.
  TrainedModels(std::unique_ptr<Policy> policy, std::unique_ptr<Critic> critic, const LearnerConfig& config);

  Policy& policy() const { return *policy_; }
  bool has_critic() const { return critic_ != nullptr; }
  Models models() { return {*policy_, head_, critic_.get()}; }

  void clear_gradients();
  // Every gradient becomes the sum of the ranks' gradients.
  Status sum_gradients(Collective& group) const;
  // The norms of the gradients, clipped each on its own; without a critic its norm is 0.
  struct Norms {
    double policy = 0, critic = 0;
    bool finite() const { return std::isfinite(policy) && std::isfinite(critic); }
    bool zero() const { return policy == 0 && critic == 0; }
  };
  double weight_norm() const { return fulcrum::weight_norm(trained_.leaves()); }
  // One clipped optimizer step of every model, at the rates of step `step` of `max_steps`; none of any where
  // the norms are not finite or zero().
  Norms update(int64_t step, int64_t max_steps);

  // What a step of several updates goes back to when it fails.
  struct Snapshot {
    AdamW::Snapshot policy;
    std::optional<AdamW::Snapshot> critic;
  };
  Snapshot snapshot() const;
  void restore(const Snapshot& before);

  // Optimizer steps so far.
  int64_t updates() const { return trained_.updates(); }
  // fp32 weights and moments; the critic's names begin with "critic/".
  void save(TensorMap& into) const;
  Status load(const TensorMap& from, int64_t updates);

 private:
  void parameters_changed();

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<Critic> critic_;
  TrainedParameters trained_;  // the policy's
  HeadMemory head_;
};

}  // namespace fulcrum
