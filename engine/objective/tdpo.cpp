// Token-level DPO (Zeng et al., arXiv 2404.11999). Per pair, with M the sum over a completion's tokens of
// log pi - log reference and K that of KL(reference || pi) over the whole vocabulary (or of the divergence
// that f_divergence_type names), sg a constant for the gradient:
//   tdpo1   m = beta (M_chosen - M_rejected) - (beta K_rejected - beta K_chosen)
//   tdpo2   m = beta (M_chosen - M_rejected) - alpha (beta K_rejected - sg(beta K_chosen))
//   L = softplus(-m)
// alpha = 0 is DPO. The rewards in the metrics are the paper's code's, beta (M + K), whatever alpha is.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>

#include "engine/objective/calibration.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/pairs.h"

namespace fulcrum {
namespace {

constexpr double kDefaultAlpha = 0.5;

class Tdpo final : public Objective {
 public:
  // `alpha`: none for tdpo1.
  Tdpo(std::shared_ptr<const Divergence> divergence, double beta, std::optional<double> alpha)
      : divergence_(std::move(divergence)), beta_(beta), alpha_(alpha) {}

  Needs needs() const override { return {.divergence = true, .pairs = true}; }
  std::shared_ptr<const Divergence> divergence() const override { return divergence_; }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    return prepare_pairs(batch, metrics);
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY(pairs, find_pairs(input));
    TRY_DO(check_finite(input, input.divergence_N, pairs.mask_N, "divergence to the reference"));
    const at::Tensor divergence_R = row_sums(input, input.divergence_N, pairs.mask_N);
    const at::Tensor log_ratio_R = beta_ * pairs.ratio_R, pull_R = beta_ * divergence_R;
    const at::Tensor dpo_margin_P = chosen(log_ratio_R) - rejected(log_ratio_R);
    const at::Tensor pull_P =
        alpha_ ? *alpha_ * (rejected(pull_R) - chosen(pull_R).detach()) : rejected(pull_R) - chosen(pull_R);
    LossOutput out;
    TRY(loss, mean_pair_loss(input, pairs, -at::log_sigmoid(dpo_margin_P - pull_P)));
    out.loss = loss;
    const at::Tensor reward_R = log_ratio_R + pull_R;
    add_pair_metrics(input, pairs, reward_R, chosen(reward_R) - rejected(reward_R), out.metrics);
    add_pair_mean(out.metrics, "rewards/dpo_margins", dpo_margin_P, pairs);
    add_divergence_metrics(pairs, divergence_R.detach(), out.metrics);
    return out;
  }

  Status conclude(Metrics& metrics) const override {
    conclude_calibration(metrics);
    return check_pairs_left(metrics);
  }

 private:
  static void add_divergence_metrics(const Pairs& pairs, const at::Tensor& divergence_R, Metrics& metrics) {
    const at::Tensor chosen_P = chosen(divergence_R), rejected_P = rejected(divergence_R);
    add_pair_mean(metrics, "tdpo/seq_kl_chosen", chosen_P, pairs);
    add_pair_mean(metrics, "tdpo/seq_kl_rejected", rejected_P, pairs);
    add_pair_mean(metrics, "tdpo/seq_kl_margin", (chosen_P - rejected_P).abs(), pairs);
    add_metric(metrics, "tdpo/kl_per_token", divergence_R.sum().item<double>(),
               static_cast<double>(pairs.mask_N.sum().item<int64_t>()));
  }

  std::shared_ptr<const Divergence> divergence_;
  double beta_;
  std::optional<double> alpha_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_tdpo(const ObjectiveConfig& config) {
  TRY(divergence, make_divergence(config.divergence(), config.divergence_options()));
  std::optional<double> alpha;
  if (config.loss_type == "tdpo2") alpha = config.tdpo_alpha.value_or(kDefaultAlpha);
  return std::unique_ptr<Objective>(std::make_unique<Tdpo>(std::move(divergence), config.strength(), alpha));
}

}  // namespace fulcrum
