// Leaves that are trained together: their gradients, their optimizer and their part of a checkpoint. The
// learner has one for the policy, and one for the critic where there is one. Not thread-safe.
#pragma once

#include <string>

#include "engine/core/status.h"
#include "engine/learner/adamw.h"
#include "engine/learner/learner_config.h"

namespace fulcrum {

class TrainedParameters {
 public:
  TrainedParameters(NamedTensors leaves, const LearnerConfig& config);

  const NamedTensors& leaves() const { return leaves_; }
  void clear_gradients() const { fulcrum::clear_gradients(leaves_); }

  // The update at the schedule's rate of step `step` of `max_steps`; `rounded` as AdamW::Clipped has it.
  AdamW::Clipped update(int64_t step, int64_t max_steps, std::vector<at::Tensor> rounded);

  AdamW::Snapshot snapshot() const { return optimizer_.snapshot(); }
  void restore(const AdamW::Snapshot& snapshot) { optimizer_.restore(snapshot); }
  int64_t updates() const { return optimizer_.steps(); }

  // "<prefix>param/<name>" and the moments, likewise.
  void save(const std::string& prefix, TensorMap& into) const;
  // kInvalidArgument naming what is missing or misshapen; the leaves are then as they were.
  Status load(const std::string& prefix, const TensorMap& from, int64_t updates);

 private:
  LearnerConfig config_;
  NamedTensors leaves_;
  AdamW optimizer_;
};

}  // namespace fulcrum
