// AdamW over the policy's fp32 leaves, and the gradient's norm, by kernels on LibTorch's threads (the same
// bits with any number of them), or where the leaves are (device_adamw.h). Called by the learner; not
// thread-safe.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/status.h"
#include "engine/learner/device_adamw.h"
#include "engine/learner/learner_config.h"
#include "policy/nn/policy.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// Forgets all gradients.
void clear_gradients(const NamedTensors& parameters);
// The norm of all gradients together; NaN or infinite if any of them is.
double gradient_norm(const NamedTensors& parameters);
// The norm of all weights together.
double weight_norm(const NamedTensors& parameters);
// What scales gradients of this norm to at most `max_norm`; 1 where nothing is clipped (`max_norm` 0: never).
double clip_factor(double norm, double max_norm);

class AdamW {
 public:
  // Keeps the leaves; moments start at 0.
  AdamW(NamedTensors parameters, const LearnerConfig& config);

  // One update from the leaves' gradients times `gradient_scale` (a leaf without one has gradient 0).
  void step(double learning_rate, double gradient_scale = 1);
  // One update of each, clipped each to its own norm: of all of them, or of none where a gradient is not
  // finite or there is none but 0 (their momentum alone would go on moving the weights). Gives the norms.
  // Where the leaves are on a device the kernels decide and the host learns of it afterwards.
  struct Clipped {
    AdamW& adamw;
    double learning_rate = 0, max_norm = 0;
    std::vector<at::Tensor> rounded;  // what Policy::rounded() gives of the leaves; empty: nothing
  };
  struct Stepped {
    std::vector<double> norms;
    bool rounded = false;  // the rounded copies are those of the new weights; else they are to be made
  };
  static Stepped step_clipped(std::span<const Clipped> updates);
  int64_t steps() const { return steps_; }

  // The moments as "exp_avg/<name>" and "exp_avg_sq/<name>", copied.
  void save(TensorMap& into) const;
  // Takes them back after `steps` updates. kInvalidArgument, and nothing changed, if one is missing or
  // misshapen.
  Status load(const TensorMap& from, int64_t steps);

  // A copy of leaves and moments, to go back to when a step of several updates is cancelled.
  struct Snapshot {
    std::vector<at::Tensor> parameters, first, second;
    int64_t steps = 0;
  };
  Snapshot snapshot() const;
  void restore(const Snapshot& snapshot);

 private:
  kernels::AdamwStep next_step(double learning_rate) const;
  std::vector<device::Leaf> leaves(std::span<const at::Tensor> rounded = {}) const;

  NamedTensors parameters_;
  std::vector<at::Tensor> first_, second_;  // moments, parallel to parameters_
  double beta1_, beta2_, epsilon_, weight_decay_;
  int64_t steps_ = 0;
  device::TrainedSet on_device_;
};

}  // namespace fulcrum
