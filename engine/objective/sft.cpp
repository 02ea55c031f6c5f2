// Supervised fine-tuning: the mean negative log-likelihood of the completions' tokens over the whole step.
#include <ATen/TensorOperators.h>

#include "engine/objective/aggregate.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"

namespace fulcrum {
namespace {

class Sft final : public Objective {
 public:
  Needs needs() const override { return {}; }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    batch.denominator = step_denominator(Aggregation::kDapo, batch, false, 0);
    add_metric(metrics, "batch/loss_tokens", static_cast<double>(count_loss_tokens(batch, false)));
    return ok_status();
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY_DO(check_finite(input, input.logps_N, input.mask_N, "policy's log-prob"));
    LossOutput out;
    out.loss =
        aggregate(Aggregation::kDapo, input, -input.logps_N, input.mask_N, false, input.batch.denominator);
    return out;
  }
};

}  // namespace

Result<std::unique_ptr<Objective>> make_sft(const ObjectiveConfig& /*config*/) {
  return std::unique_ptr<Objective>(std::make_unique<Sft>());
}

}  // namespace fulcrum
