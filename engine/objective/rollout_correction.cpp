#include "engine/objective/rollout_correction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <utility>

#include "engine/core/text.h"
#include "engine/objective/masked.h"

namespace fulcrum {
namespace {

using Mode = CorrectionMode;

constexpr std::array kModes = {
    std::pair{"token_truncate", Mode::kTokenTruncate},
    std::pair{"token_mask", Mode::kTokenMask},
    std::pair{"sequence_truncate", Mode::kSequenceTruncate},
    std::pair{"sequence_mask", Mode::kSequenceMask},
    std::pair{"geometric_truncate", Mode::kGeometricTruncate},
    std::pair{"geometric_mask", Mode::kGeometricMask},
    std::pair{"geometric_mask_token_weight", Mode::kGeometricMaskTokenWeight},
};

bool truncates(Mode mode) {
  return mode == Mode::kTokenTruncate || mode == Mode::kSequenceTruncate || mode == Mode::kGeometricTruncate;
}

at::Tensor exp_within(const at::Tensor& log_weight, const std::optional<double>& bound) {
  return (bound ? at::clamp(log_weight, -*bound, *bound) : log_weight).exp();
}

at::Tensor inside(const RolloutCorrection& c, const at::Tensor& weight) {
  const at::Tensor below_cap = weight <= c.cap;
  return c.floor ? below_cap & (weight >= *c.floor) : below_cap;
}

at::Tensor truncated(const RolloutCorrection& c, const at::Tensor& weight) {
  const at::Tensor capped = at::clamp_max(weight, c.cap);
  return c.floor ? at::clamp_min(capped, *c.floor) : capped;
}

// The log-weight that decides about each target.
at::Tensor deciding(Mode mode, const LossInput& input, const at::Tensor& log_weight_N,
                    const at::Tensor& mask_N) {
  if (mode == Mode::kTokenTruncate || mode == Mode::kTokenMask) return log_weight_N.to(at::kDouble);
  const bool sum = mode == Mode::kSequenceTruncate || mode == Mode::kSequenceMask;
  const at::Tensor rows_R =
      sum ? row_sums(input, log_weight_N, mask_N) : row_means(input, log_weight_N, mask_N);
  return at::index_select(rows_R, 0, input.row_N);
}

}  // namespace

Result<CorrectionMode> parse_correction_mode(std::string_view name) {
  for (const auto& [known, mode] : kModes) {
    if (name == known) return mode;
  }
  return invalid_argument("unknown importance_sampling_mode " + in_quotes(name));
}

LogWeights log_rollout_weights(const at::Tensor& old_logps_N, const at::Tensor& sampling_logps_N) {
  if (!sampling_logps_N.defined())
    return {at::zeros_like(old_logps_N), at::ones_like(old_logps_N, at::kBool)};
  const at::Tensor log_weight_N = old_logps_N.detach() - sampling_logps_N;
  const at::Tensor there_N = at::isfinite(log_weight_N);
  return {keep(log_weight_N, there_N), ~there_N};
}

at::Tensor rollout_weights(const RolloutCorrection& c, const LossInput& input, const at::Tensor& log_weight_N,
                           const at::Tensor& mask_N) {
  const at::Tensor weight_N = exp_within(deciding(c.mode, input, log_weight_N, mask_N), c.log_bound);
  at::Tensor out_N;
  if (truncates(c.mode)) {
    out_N = truncated(c, weight_N);
  } else {
    const bool own = c.mode == Mode::kGeometricMaskTokenWeight;
    out_N = keep(own ? log_weight_N.to(at::kDouble).exp() : weight_N, inside(c, weight_N));
  }
  return keep(out_N, mask_N).to(log_weight_N.scalar_type());
}

double mean_weight(const at::Tensor& weight_N, const at::Tensor& mask_N) {
  const double tokens = mask_N.sum().item<double>(), sum = masked_sum(weight_N, mask_N);
  return sum > 0 ? sum / tokens : 1;
}

at::Tensor off_policy_keep(const at::Tensor& advantages, const at::Tensor& mean_log_ratio, double threshold) {
  return (advantages >= 0) | (mean_log_ratio <= threshold);
}

}  // namespace fulcrum
