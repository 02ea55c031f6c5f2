// Who learns: takes a packed batch, fetches what the objective needs, accumulates the gradient over
// micro-batches, clips, steps AdamW and guards every number on the way. Called by the pipeline. One thread at
// a time.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "engine/collective/collective.h"
#include "engine/core/json.h"
#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/learner/learner_config.h"
#include "engine/objective/objective.h"
#include "engine/publish/flat_weights.h"
#include "engine/reference/reference.h"
#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

struct LearnerOptions {
  LearnerConfig config;
  int64_t max_steps = 1;         // horizon of the schedule
  int64_t num_iterations = 1;    // passes over each rollout batch
  int64_t num_mini_batches = 1;  // optimizer steps of each pass
  double temperature = 1.0;      // of the rollouts
  uint64_t seed = 0;             // of the minibatches' order
  // The ranks that train together, each with a learner of its own that is given the same calls; null: alone.
  std::shared_ptr<Collective> group;
};

// Everything a bit-equal resume needs besides the weights: optimizer moments and host-side counters.
struct LearnerState {
  TensorMap tensors;  // fp32 master weights ("param/..."), moments ("exp_avg/...", "exp_avg_sq/...")
  Json host;          // step, skip counters, objective state
};

// How a config's models are made. kFailedPrecondition: its device cannot be used.
Result<PolicyOptions> policy_options(const LearnerConfig& config);

class Learner {
 public:
  // The reference may be null when the objective needs none. kInvalidArgument with the reason.
  static Result<std::unique_ptr<Learner>> create(const Model& model, const LearnerOptions& options,
                                                 std::unique_ptr<Objective> objective,
                                                 std::unique_ptr<Reference> reference);
  virtual ~Learner() = default;

  // One rollout batch: num_iterations x num_mini_batches optimizer steps. Metrics of the step, TRL's names.
  // kCancelled within a micro-batch of a stop request (the parameters are then as before the step). kDataLoss
  // when a guard stops the run (three non-finite steps in a row; the step-0 check against an equal
  // reference), naming the row that shows it.
  virtual Result<Metrics> step(TrainBatch batch, std::stop_token stop) = 0;

  // The objective's loss and metrics on a batch (references fetched as in step()), without a gradient;
  // nothing changes. For SFT's and DPO's periodic evaluation.
  virtual Result<Metrics> evaluate(TrainBatch batch, std::stop_token stop) = 0;

  // Rollout batches trained on so far.
  virtual int64_t steps_done() const = 0;
  // The fp32 weights as they are now (a copy).
  virtual TensorMap weights() const = 0;
  // The same rounded to bf16, for those who generate in it. From a device they come as what has changed since
  // the last call (published_weights.h). kDataLoss: they are not what the device has.
  virtual Result<std::shared_ptr<const FlatWeights>> rounded_weights() = 0;
  virtual const ModelSpec& spec() const = 0;
  // What the policy is held to; null where the objective needs nothing of the kind.
  virtual const Reference* reference() const = 0;
  // Log-probs of the current policy for a batch's targets (DPH-RL's pre-sampling, evaluation).
  virtual Result<std::vector<float>> logps(const TrainBatch& batch, std::stop_token stop) = 0;

  // What a stage before training found out for the objective (f-DPG's lambda): into its state, and so into
  // every checkpoint.
  virtual void put_objective_values(const std::string& name, std::vector<double> values) = 0;

  virtual LearnerState save() const = 0;
  // kInvalidArgument if the state is of another model or is damaged.
  virtual Status load(const LearnerState& state) = 0;
};

}  // namespace fulcrum
