// The learner on LibTorch: one rollout batch at a time, in one or several optimizer steps. Made by
// learner.cpp. One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/device/fallbacks.h"
#include "engine/learner/accumulate.h"
#include "engine/learner/agreement.h"
#include "engine/learner/host_state.h"
#include "engine/learner/learner.h"
#include "engine/learner/published_weights.h"
#include "engine/learner/step_notes.h"
#include "engine/learner/trained_models.h"

namespace fulcrum {

class TorchLearner final : public Learner {
 public:
  TorchLearner(const LearnerOptions& options, std::unique_ptr<Policy> policy, std::unique_ptr<Critic> critic,
               std::unique_ptr<Objective> objective, std::unique_ptr<Reference> reference)
      : options_(options),
        ranks_(options.group),
        trained_(std::move(policy), std::move(critic), options.config),
        objective_(std::move(objective)),
        reference_(std::move(reference)) {}

  Result<Metrics> step(TrainBatch batch, std::stop_token stop) override;
  Result<Metrics> evaluate(TrainBatch batch, std::stop_token stop) override;
  Result<std::vector<float>> logps(const TrainBatch& batch, std::stop_token stop) override;

  int64_t steps_done() const override { return host_.steps_done; }
  const ModelSpec& spec() const override { return trained_.policy().spec(); }
  const Reference* reference() const override { return reference_.get(); }

  TensorMap weights() const override;
  Result<std::shared_ptr<const FlatWeights>> rounded_weights() override;
  void put_objective_values(const std::string& name, std::vector<double> values) override {
    host_.objective.values[name] = std::move(values);
  }
  LearnerState save() const override;
  Status load(const LearnerState& state) override;

 private:
  ForwardOptions forward_options() const {
    return {options_.temperature, options_.config.max_tokens_per_micro_batch, options_.config.logits_chunk};
  }
  bool mini_batches() const { return options_.num_mini_batches > 1; }
  LossPass pass(bool old_is_current);
  Result<std::vector<float>> reference_logps(const TrainBatch& batch, const std::stop_token& stop);
  Result<Metrics> train(TrainBatch& batch, const std::stop_token& stop);
  Result<Metrics> measure(TrainBatch& batch, const std::stop_token& stop);
  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics, const std::stop_token& stop);
  Status run_updates(TrainBatch& batch, HostState& next, Metrics& metrics, const std::stop_token& stop);
  Status update_once(TrainBatch& batch, bool first, HostState& next, Metrics& metrics,
                     const std::stop_token& stop);
  Status compare_before(const TrainBatch& batch, std::span<const float> logps, HostState& next,
                        Metrics& metrics);
  Status apply(const StepLoss& loss, HostState& next, Metrics& metrics);
  Status skip(const std::string& why, HostState& next) const;
  Status agree_on_update();
  Status move_reference(const TrainBatch& batch, Metrics& metrics);

  LearnerOptions options_;
  Agreement ranks_;
  TrainedModels trained_;
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<Reference> reference_;
  HostState host_;
  StepNotes notes_;
  double reference_seconds_ = 0;  // of the step, in the reference's own passes
  PublishedWeights published_;
  kernels::FallbackCounts publishing_{};  // of the last rounded_weights(), for the next step to tell
};

}  // namespace fulcrum
