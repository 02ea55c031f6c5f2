// f-DPO (arXiv 2309.16240); with reverse_kl it is DPO (arXiv 2305.18290). Per pair of a chosen and a rejected
// completion, with a = sum over tokens of log pi - log reference and the link s (dpo_link.h):
//   Delta = beta (s(a_chosen) - s(a_rejected)),   L = (1 - eps) softplus(-Delta) + eps softplus(Delta)
// f' acts on the ratio of whole sequences, not per token; pairs are summed in double.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>

#include <cmath>

#include "engine/objective/dpo_link.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/pairs.h"

namespace fulcrum {
namespace {

constexpr double kDefaultBeta = 0.1;

class Dpo final : public Objective {
 public:
  Dpo(DpoLink link, double beta, double label_smoothing)
      : link_(std::move(link)), beta_(beta), label_smoothing_(label_smoothing) {}

  Needs needs() const override { return {.reference_logps = true, .pairs = true}; }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    return prepare_pairs(batch, metrics);
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY_DO(check_finite(input, input.logps_N, input.mask_N, "policy's log-prob"));
    TRY_DO(check_finite(input, input.reference_logps_N, input.mask_N, "reference's log-prob"));
    // The sum of the differences, not the difference of two long sums.
    const at::Tensor ratio_R = row_sums(
        input, input.logps_N.to(at::kDouble) - input.reference_logps_N.to(at::kDouble), input.mask_N);
    const int64_t pairs = input.batch.num_rows() / 2;
    const at::Tensor reward_R = beta_ * link_.score(ratio_R);
    const at::Tensor reward_P2 = reward_R.view({pairs, 2});
    const at::Tensor margin_P = reward_P2.select(1, 0) - reward_P2.select(1, 1);
    // softplus(-x) = -log sigmoid(x).
    const at::Tensor loss_P =
        -(1 - label_smoothing_) * at::log_sigmoid(margin_P) - label_smoothing_ * at::log_sigmoid(-margin_P);
    LossOutput out;
    out.loss = loss_P.sum() / input.batch.denominator;
    if (!std::isfinite(out.loss.item<double>())) {
      return data_loss(
          "a pair's loss is not finite: its log-ratio to the reference is beyond the link's range; set "
          "f_exponent_cap, or a smaller beta");
    }
    add_metrics(input, ratio_R.detach(), reward_P2.detach(), out.metrics);
    return out;
  }

 private:
  void add_metrics(const LossInput& input, const at::Tensor& ratio_R, const at::Tensor& reward_P2,
                   Metrics& metrics) const {
    const int64_t pairs = reward_P2.size(0);
    const at::Tensor logps_P2 = row_sums(input, input.logps_N.detach(), input.mask_N).view({pairs, 2});
    const at::Tensor guarded_P2 = link_.guarded(ratio_R).view({pairs, 2});
    const auto add = [&](const std::string& name, const at::Tensor& x_P) {
      add_metric(metrics, name, x_P.sum().item<double>(), static_cast<double>(pairs));
    };
    const at::Tensor chosen = reward_P2.select(1, 0), rejected = reward_P2.select(1, 1);
    add("rewards/chosen", chosen);
    add("rewards/rejected", rejected);
    add("rewards/margins", chosen - rejected);
    add("rewards/accuracies", chosen > rejected);  // a tie is wrong
    add("logps/chosen", logps_P2.select(1, 0));
    add("logps/rejected", logps_P2.select(1, 1));
    add("pairs/guarded", guarded_P2.any(1));
  }

  DpoLink link_;
  double beta_;
  double label_smoothing_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_dpo(const ObjectiveConfig& config) {
  const std::string name = config.f_divergence_type.empty() ? "reverse_kl" : config.f_divergence_type;
  TRY(divergence, make_divergence(name, {config.f_alpha_divergence_coef, config.js_scale}));
  TRY(link, DpoLink::create(std::move(divergence), config.f_exponent_cap));
  const double beta = config.beta.value_or(kDefaultBeta);
  if (!(beta > 0))
    return invalid_argument("beta must be above 0 with trainer 'dpo': at 0 every pair has the same loss");
  return std::unique_ptr<Objective>(std::make_unique<Dpo>(std::move(link), beta, config.label_smoothing));
}

}  // namespace fulcrum
