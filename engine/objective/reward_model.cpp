// A reward model on preferences (Bradley-Terry; arXiv 2203.02155, equation 1). With s the score at a row's
// last token and m what the data says the chosen one is better by (0 here), per pair:
//   L = -log sigma(s_chosen - s_rejected) + center_rewards_coefficient (s_chosen + s_rejected)^2
// The second term (arXiv 2312.09244; TRL's key) fixes the scores' zero, which the first leaves free.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/square.h>

#include <algorithm>

#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/pairs.h"

namespace fulcrum {
namespace {

class RewardModel final : public Objective {
 public:
  explicit RewardModel(double center) : center_(center) {}

  Needs needs() const override { return {.scores = true, .pairs = true}; }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    return prepare_pairs(batch, metrics);
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    const int64_t pairs = input.batch.num_rows() / 2;
    const at::Tensor scores_P2 = input.scores_R.to(at::kDouble).view({pairs, 2});
    const at::Tensor chosen_P = scores_P2.select(1, 0), rejected_P = scores_P2.select(1, 1);
    const at::Tensor margin_P = keep(chosen_P - rejected_P, distinct_pairs(input.batch));
    LossOutput out;
    out.loss = (center_ * at::square(chosen_P + rejected_P) - at::log_sigmoid(margin_P)).sum() /
               input.batch.denominator;
    add_metrics(scores_P2.detach(), margin_P.detach(), out.metrics);
    return out;
  }

 private:
  static void add_metrics(const at::Tensor& scores_P2, const at::Tensor& margin_P, Metrics& metrics) {
    const auto pairs = static_cast<double>(margin_P.size(0));
    const auto add = [&](const std::string& name, const at::Tensor& x_P) {
      add_metric(metrics, name, x_P.sum().item<double>(), pairs);
    };
    add("accuracy", margin_P > 0);  // a tie is wrong
    add("margin", margin_P);
    add("rewards/chosen", scores_P2.select(1, 0));
    add("rewards/rejected", scores_P2.select(1, 1));
    add_metric(metrics, "mean_reward", scores_P2.sum().item<double>(), 2 * pairs);
  }

  double center_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_reward_model(const ObjectiveConfig& config) {
  return std::unique_ptr<Objective>(std::make_unique<RewardModel>(config.center_rewards_coefficient));
}

}  // namespace fulcrum
