// GRPO (arXiv 2402.03300) and its loss types: DAPO (2503.14476), Dr. GRPO (2503.20783), BNPO as TRL has it.
#include "engine/objective/methods.h"
#include "engine/objective/policy_gradient.h"

namespace fulcrum {
namespace {

class Grpo final : public Objective {
 public:
  explicit Grpo(PolicyGradient base) : base_(std::move(base)) {}

  Needs needs() const override { return base_.needs(); }
  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    for (const BatchRow& row : batch.rows) {
      if (row.rehearsal)
        return internal_error("trainer grpo was given rehearsal rows: only dph_rl trains on them");
    }
    return base_.prepare(batch, metrics);
  }
  void settle(TrainBatch& batch) const override { base_.settle(batch); }
  Result<LossOutput> loss(const LossInput& input) const override { return base_.loss(input); }

 private:
  PolicyGradient base_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_grpo(const ObjectiveConfig& config) {
  TRY(base, PolicyGradient::create(config));
  return std::unique_ptr<Objective>(std::make_unique<Grpo>(std::move(base)));
}

}  // namespace fulcrum
