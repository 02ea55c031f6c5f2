// Correction for samples that were not drawn by the policy that learns from them: other kernels, other
// precision, or older weights (max_staleness). The weight is the policy at the start of the update over the
// sampler, exp(log pi_old - log pi_sampling), bounded; it is a constant and multiplies the policy loss after
// its clipping, never a KL. Over the clipped surrogate, which is anchored at the old policy, that is
// decoupled PPO (arXiv 2110.00641; AReaL, 2505.24298). Called by policy_gradient.cpp. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "engine/core/status.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// truncate: weights above the cap become the cap (and below the floor the floor). mask: weights outside
// become 0. One weight a token, a sequence (the product over its tokens) or its geometric mean.
enum class CorrectionMode {
  kTokenTruncate,  // TIS
  kTokenMask,      // IcePop
  kSequenceTruncate,
  kSequenceMask,  // MIS
  kGeometricTruncate,
  kGeometricMask,
  kGeometricMaskTokenWeight  // the mean decides, the tokens keep their own weights
};

// "token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "geometric_truncate",
// "geometric_mask" or "geometric_mask_token_weight".
Result<CorrectionMode> parse_correction_mode(std::string_view name);

struct RolloutCorrection {
  CorrectionMode mode = CorrectionMode::kSequenceMask;
  double cap = 3;
  std::optional<double> floor = std::nullopt;
  // Bounds the log-weight, after the sum or mean over the row's tokens, before it is exponentiated.
  std::optional<double> log_bound = 20;
};

// log pi_old - log pi_sampling, 0 where a log-prob is missing or not finite: such a token keeps the weight 1.
// `missing_N` (bool) says where.
struct LogWeights {
  at::Tensor log_weight_N, missing_N;
};
LogWeights log_rollout_weights(const at::Tensor& old_logps_N, const at::Tensor& sampling_logps_N);

// 0 where masked; the dtype of the log-weights.
at::Tensor rollout_weights(const RolloutCorrection& correction, const LossInput& input,
                           const at::Tensor& log_weight_N, const at::Tensor& mask_N);

// The mean weight over the unmasked tokens, zeros included; 1 where it has nothing to say. Weights divided by
// it keep the size of the loss.
double mean_weight(const at::Tensor& weight_N, const at::Tensor& mask_N);

// TRL's off_policy_mask_threshold (DeepSeek-V3.2): a row with a negative advantage is learnt from only while
// the policy has not moved away from its sampler by more than `threshold` nats a token, the mean of
// log pi_sampling - log pi. bool, of the inputs' shape.
at::Tensor off_policy_keep(const at::Tensor& advantages, const at::Tensor& mean_log_ratio, double threshold);

}  // namespace fulcrum
