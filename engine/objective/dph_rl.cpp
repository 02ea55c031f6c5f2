// DPH-RL (arXiv 2509.07430): the clipped surrogate on exploration rows, plus dph_eta times an f-divergence to
// the initial policy on stored samples of that policy (rehearsal rows):
//   L = agg_exp(surrogate) + eta agg_pef(f(u)),   u = pi / pi_0 per token,   f centred
// Both means have their own denominators over the whole step, so the balance of the two does not depend on
// how rows fall into micro-batches (dph_combine per_microbatch gives that up, as the released code does). No
// clamp on the low side (forgotten tokens keep their pull); above dph_delta_max f continues linearly.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/policy_gradient.h"
#include "engine/objective/rehearsal_term.h"

namespace fulcrum {
namespace {

// A log-ratio below which a token of the initial policy counts as being lost, for dph/share_lost.
constexpr double kLostLogRatio = -2;

class DphRl final : public Objective {
 public:
  DphRl(PolicyGradient base, RehearsalTerm term, double eta, double delta_max)
      : base_(std::move(base)), term_(std::move(term)), eta_(eta), delta_max_(delta_max) {}

  Needs needs() const override { return base_.needs(); }

  Status prepare(TrainBatch& batch, ObjectiveState& /*state*/, Metrics& metrics) const override {
    int64_t rows = 0, skipped = 0;
    for (const BatchRow& row : batch.rows) {
      if (!row.rehearsal) continue;
      ++rows;
      if (static_cast<int64_t>(batch.stored_logps.size()) < row.target_end) {
        return internal_error("a rehearsal row of prompt row " + std::to_string(row.prompt_row) +
                              " came without its stored log-probs");
      }
      skipped += skip_unusable(batch, row);
    }
    TRY_DO(base_.prepare(batch, metrics));
    settle(batch);
    add_metric(metrics, "dph/rehearsal_rows", static_cast<double>(rows));
    add_metric(metrics, "dph/skipped_tokens", static_cast<double>(skipped));
    return ok_status();
  }

  void settle(TrainBatch& batch) const override {
    base_.settle(batch);
    batch.rehearsal_denominator = base_.denominator(batch, true);
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY(out, base_.loss(input));
    // eta = 0 is the base objective bit for bit.
    if (eta_ == 0) return out;
    const at::Tensor mask_N = input.mask_N & rehearsal_targets(input);
    if (!mask_N.any().item<bool>()) return out;
    TRY_DO(check_finite(input, input.logps_N, mask_N, "policy's log-prob"));
    TRY_DO(check_finite(input, input.stored_logps_N, mask_N, "stored log-prob"));
    const at::Tensor log_ratio_N = keep(input.logps_N, mask_N) - keep(input.stored_logps_N, mask_N);
    const at::Tensor value_N = term_(log_ratio_N);
    const at::Tensor term =
        aggregate(base_.aggregation(), input, value_N, mask_N, true, input.batch.rehearsal_denominator);
    out.loss = out.loss + eta_ * term;
    add_metrics(log_ratio_N.detach(), value_N, mask_N, out.metrics);
    return out;
  }

 private:
  // A stored log-prob that is not finite gives no ratio: the token is masked and counted.
  static int64_t skip_unusable(TrainBatch& batch, const BatchRow& row) {
    int64_t skipped = 0;
    for (auto n = static_cast<size_t>(row.target_begin); n < static_cast<size_t>(row.target_end); ++n) {
      if (batch.target_mask[n] == 0 || std::isfinite(batch.stored_logps[n])) continue;
      batch.target_mask[n] = 0;
      ++skipped;
    }
    return skipped;
  }

  void add_metrics(const at::Tensor& log_ratio_N, const at::Tensor& value_N, const at::Tensor& mask_N,
                   Metrics& metrics) const {
    const double tokens = mask_N.sum().item<double>();
    add_metric(metrics, "divergence/" + term_.divergence().name(), masked_sum(value_N, mask_N), tokens);
    add_metric(metrics, "dph/log_ratio", masked_sum(log_ratio_N, mask_N), tokens);
    add_metric(metrics, "dph/share_lost", masked_sum(log_ratio_N < kLostLogRatio, mask_N), tokens);
    add_metric(metrics, "dph/share_above_delta_max", masked_sum(log_ratio_N > delta_max_, mask_N), tokens);
  }

  PolicyGradient base_;
  RehearsalTerm term_;
  double eta_;
  double delta_max_;
};

}  // namespace

Result<std::unique_ptr<Objective>> make_dph_rl(const ObjectiveConfig& config) {
  TRY(options, policy_gradient_options(config));
  if (config.dph_combine == "per_microbatch") {
    options.aggregation = Aggregation::kMicroBatchMean;
    options.micro_batches = config.dph_accumulation;
  }
  TRY(base, PolicyGradient::create(options));
  TRY(divergence, make_divergence(config.divergence(), config.divergence_options()));
  TRY(form, parse_rehearsal_form(config.dph_form));
  TRY(term, RehearsalTerm::create(form, std::move(divergence), config.dph_delta_max));
  return std::unique_ptr<Objective>(
      std::make_unique<DphRl>(std::move(base), std::move(term), config.dph_eta, config.dph_delta_max));
}

}  // namespace fulcrum
