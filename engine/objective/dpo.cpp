// f-DPO (arXiv 2309.16240); with reverse_kl it is DPO (arXiv 2305.18290). Per pair of a chosen and a rejected
// completion, with a = sum over tokens of log pi - log reference and the link s (dpo_link.h):
//   m = beta (s(a_chosen) - s(a_rejected)), formed without cancellation,
// and by loss_type, eps the label smoothing:
//
//   sigmoid   (1 - eps) softplus(-m) + eps softplus(m)
//   robust    ((1 - eps) softplus(-m) - eps softplus(m)) / (1 - 2 eps)     (robust DPO, arXiv 2403.00409)
//   hinge     max(0, 1 - m)                                                (SLiC-HF, arXiv 2305.10425)
//   ipo       (s(a_chosen)/n_chosen - s(a_rejected)/n_rejected - 1/(2 beta))^2, n tokens (arXiv 2310.12036,
//             eq. 17, in TRL's form that averages over tokens)
//
// f' acts on the ratio of whole sequences, not per token; pairs are summed in double.
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/ones_like.h>

#include "engine/objective/calibration.h"
#include "engine/objective/dpo_link.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/pairs.h"

namespace fulcrum {
namespace {

enum class PairLoss { kSigmoid, kRobust, kHinge, kIpo };

PairLoss pair_loss(const std::string& loss_type) {
  if (loss_type == "sigmoid") return PairLoss::kSigmoid;
  if (loss_type == "robust") return PairLoss::kRobust;
  return loss_type == "hinge" ? PairLoss::kHinge : PairLoss::kIpo;
}

class Dpo final : public Objective {
 public:
  Dpo(DpoLink link, PairLoss kind, double beta, double label_smoothing)
      : link_(std::move(link)), kind_(kind), beta_(beta), label_smoothing_(label_smoothing) {}

  Needs needs() const override { return {.reference_logps = true, .pairs = true}; }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    TRY_DO(prepare_pairs(batch, metrics));
    mask_identical_pairs(batch);
    return ok_status();
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY(pairs, find_pairs(input));
    const at::Tensor score_R = link_.score(pairs.ratio_R);
    const at::Tensor margin_P = beta_ * link_.difference(chosen(pairs.ratio_R), rejected(pairs.ratio_R));
    LossOutput out;
    TRY(loss,
        mean_pair_loss(input, pairs,
                       kind_ == PairLoss::kIpo ? ipo_loss(input, pairs, score_R) : margin_loss(margin_P)));
    out.loss = loss;
    add_pair_metrics(input, pairs, beta_ * score_R, margin_P, out.metrics);
    const at::Tensor guarded_R = link_.guarded(pairs.ratio_R.detach());
    add_pair_mean(out.metrics, "pairs/guarded", chosen(guarded_R) | rejected(guarded_R), pairs);
    return out;
  }

  Status conclude(Metrics& metrics) const override {
    conclude_calibration(metrics);
    return check_pairs_left(metrics);
  }

 private:
  at::Tensor margin_loss(const at::Tensor& margin_P) const {
    if (kind_ == PairLoss::kHinge) return at::clamp_min(1 - margin_P, 0);
    // softplus(-x) = -log sigmoid(x).
    const at::Tensor as_labelled_P = -(1 - label_smoothing_) * at::log_sigmoid(margin_P);
    const at::Tensor flipped_P = label_smoothing_ * at::log_sigmoid(-margin_P);
    if (kind_ == PairLoss::kRobust) return (as_labelled_P + flipped_P) / (1 - 2 * label_smoothing_);
    return as_labelled_P - flipped_P;
  }

  at::Tensor ipo_loss(const LossInput& input, const Pairs& pairs, const at::Tensor& score_R) const {
    const at::Tensor tokens_R =
        row_sums(input, at::ones_like(pairs.mask_N, at::kDouble), pairs.mask_N).clamp_min(1);
    const at::Tensor mean_R = score_R / tokens_R;
    return (chosen(mean_R) - rejected(mean_R) - 1 / (2 * beta_)).square();
  }

  DpoLink link_;
  PairLoss kind_;
  double beta_;
  double label_smoothing_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_dpo(const ObjectiveConfig& config) {
  TRY(divergence, make_divergence(config.divergence(), config.divergence_options()));
  const ExponentGuard guard =
      config.f_exponent_guard == "clamp" ? ExponentGuard::kClamp : ExponentGuard::kLinear;
  TRY(link, DpoLink::create(std::move(divergence), config.f_exponent_cap, guard));
  return std::unique_ptr<Objective>(std::make_unique<Dpo>(std::move(link), pair_loss(config.loss_type),
                                                          config.strength(), config.label_smoothing));
}

}  // namespace fulcrum
