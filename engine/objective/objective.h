// A training objective: a loss on a few log-probs. The learner fetches what needs() asks for, calls prepare()
// once for a rollout batch and loss() for each micro-batch of whole rows; where a rollout batch is trained on
// in minibatches, settle() for each of them between the two. It takes the gradient with respect to the
// log-probs by autograd and feeds it to the model's backward pass. Objectives never see the model, files or
// devices' settings.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/divergence/divergence.h"
#include "engine/objective/config/objective_config.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// The numbers an objective carries from step to step; part of every checkpoint, bit for bit.
struct ObjectiveState {
  std::map<std::string, std::vector<double>> values;
};

// What the model says of a micro-batch: the few numbers a loss is a function of. fp32; undefined where
// needs() does not ask. All require grad in loss().
struct ModelOutputs {
  at::Tensor logps_N;       // log pi(target) at the rollout temperature
  at::Tensor divergence_N;  // D(pi || reference) of the next-token distributions at the target, over the
                            // whole vocabulary
  at::Tensor values_N;      // the critic at the state before the target
  at::Tensor
      scores_R;  // the score head at each row's last token (of the prompt, where the completion is empty)
};

// A micro-batch: whole rows (and whole pairs), N targets, as tensors on the learner's device, fp32.
struct LossInput : ModelOutputs {
  const TrainBatch& batch;  // the slice; row numbers in `row_N` are its rows
  at::Tensor row_N;         // int64
  at::Tensor mask_N;        // bool: enters the loss
  at::Tensor old_logps_N;   // constants from here on; undefined where the batch has none
  at::Tensor reference_logps_N;
  at::Tensor sampling_logps_N;
  at::Tensor stored_logps_N;
  at::Tensor old_values_N;
  at::Tensor advantages_N;
  at::Tensor returns_N;

  explicit LossInput(const TrainBatch& slice) : batch(slice) {}
};

struct LossOutput {
  at::Tensor loss;  // scalar: this slice's share of the step's loss (already divided by the step's totals)
  Metrics metrics;
};

class Objective {
 public:
  virtual ~Objective() = default;
  virtual Needs needs() const = 0;
  // The divergence of ModelOutputs::divergence_N; null unless needs().divergence.
  virtual std::shared_ptr<const Divergence> divergence() const { return nullptr; }
  // Once per rollout batch, host numbers in double: advantages, masks, the denominators over the whole batch.
  // The only place that may change `state`. Adds its metrics (rewards, lengths, ...).
  virtual Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics) const = 0;
  // Whole groups of a prepared batch that get an optimizer step of their own: sets their denominators, as
  // prepare() did for the batch. Only of trainers on prompts is it asked.
  virtual void settle(TrainBatch& /*minibatch*/) const {}
  // Pure; thread-safe.
  virtual Result<LossOutput> loss(const LossInput& input) const = 0;
  // What is no mean over slices (a calibration error), made of the sums that all loss() calls of a step left.
  // kDataLoss where they say that the step was for nothing.
  virtual Status conclude(Metrics& /*metrics*/) const { return ok_status(); }
};

// `config.trainer` names the entry of objectives.def. kInvalidArgument with the reason if options do not fit
// together.
Result<std::unique_ptr<Objective>> make_objective(const ObjectiveConfig& config);

}  // namespace fulcrum
