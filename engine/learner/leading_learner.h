// A learner on several ranks: rank 0's is given the calls and says them to the other ranks, whose learners
// make the same ones at the same time. Made by the pipeline. One thread at a time.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/learner/leader.h"
#include "engine/learner/learner.h"

namespace fulcrum {

// Rank 0's. Reading it is free; what changes or computes is done on all ranks.
class LeadingLearner final : public Learner {
 public:
  LeadingLearner(std::unique_ptr<Learner> mine, std::shared_ptr<Leader> leader)
      : mine_(std::move(mine)), leader_(std::move(leader)) {}
  ~LeadingLearner() override;  // the job is over on every rank

  Result<Metrics> step(TrainBatch batch, std::stop_token stop) override;
  Result<Metrics> evaluate(TrainBatch batch, std::stop_token stop) override;
  Result<std::vector<float>> logps(const TrainBatch& batch, std::stop_token stop) override;
  void put_objective_values(const std::string& name, std::vector<double> values) override;
  Status load(const LearnerState& state) override;

  int64_t steps_done() const override { return mine_->steps_done(); }
  TensorMap weights() const override { return mine_->weights(); }
  Result<std::shared_ptr<const FlatWeights>> rounded_weights() override { return mine_->rounded_weights(); }
  const ModelSpec& spec() const override { return mine_->spec(); }
  const Reference* reference() const override { return mine_->reference(); }
  LearnerState save() const override { return mine_->save(); }

 private:
  template <class Run>
  auto lead_batch(const char* name, const TrainBatch& batch, const std::stop_token& stop, Run&& run)
      -> decltype(run());

  std::unique_ptr<Learner> mine_;
  std::shared_ptr<Leader> leader_;
};

// Does what a command to the learner says, on a rank that follows. Its outcome is rank 0's to judge; here
// only a broken group is an error.
Status follow_command(Learner& mine, Collective& group, const Json& message, const std::stop_token& stop);

}  // namespace fulcrum
