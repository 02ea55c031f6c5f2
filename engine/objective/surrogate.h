// The token losses of the policy-gradient methods, as functions of the log-ratio to the old policy: PPO's
// clipped surrogate with its later bounds, CISPO, DPPO-TV; and the level the ratio is formed at (GSPO, RLOO).
// Called by policy_gradient.cpp. Pure, thread-safe; results keep the dtype of the log-probs.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "engine/core/status.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// Beyond it, on either side, the log-ratio is cut, which also ends the gradient.
inline constexpr double kLogRatioBound = 20;

// r = exp(log pi - log pi_old). No value: unbounded.
at::Tensor importance_ratio(const at::Tensor& log_ratio_N,
                            std::optional<double> log_ratio_bound = kLogRatioBound);

// What a token's ratio is made of.
enum class RatioLevel {
  kToken,
  kSequenceMean,  // GSPO (arXiv 2507.18071, equation 7): exp(mean over the row's tokens)
  kSequenceSum,   // RLOO (arXiv 2402.14740): the ratio of whole completions
};

// "token" or "sequence" (the mean), TRL's importance_sampling_level.
Result<RatioLevel> parse_ratio_level(std::string_view name);

// The log-ratio each target takes its ratio from. Every token of a row carries the row's number, so that a
// row mean of its token losses is the loss of the sequence, with the sequence's gradient.
at::Tensor log_ratio_at(RatioLevel level, const LossInput& input, const at::Tensor& log_ratio_N,
                        const at::Tensor& mask_N);

struct TokenSurrogate {
  at::Tensor loss_N;
  at::Tensor ratio_N;    // constant
  at::Tensor clipped_N;  // bool: the trust region acts on this token
  at::Tensor dual_N;     // bool: the dual clip does (clipped_surrogate only)
};

// PPO (arXiv 1707.06347, equation 7) with asymmetric clipping (DAPO, arXiv 2503.14476), TRL's bound `delta`
// on the unclipped branch, and the dual clip (arXiv 1912.09729, equation 5) for A < 0:
//   l = max(-A min(r, delta), -A clip(r, 1 - low, 1 + high));   A < 0: min(l, -A dual)
struct ClipRange {
  double low = 0.2, high = 0.2;
  std::optional<double> delta = std::nullopt;
  std::optional<double> dual = std::nullopt;
  std::optional<double> log_ratio_bound = kLogRatioBound;
};
TokenSurrogate clipped_surrogate(const at::Tensor& log_ratio_N, const at::Tensor& advantages_N,
                                 const ClipRange& clip);

// CISPO (arXiv 2506.13585, equation 4): -A w log pi with w = clip(r) constant, so that no token's gradient is
// cut to zero. `high` bounds the ratio itself.
struct RatioRange {
  std::optional<double> low = std::nullopt;
  double high = 5;
};
TokenSurrogate cispo_surrogate(const at::Tensor& logps_N, const at::Tensor& log_ratio_N,
                               const at::Tensor& advantages_N, const RatioRange& range);

// DPPO with total variation (arXiv 2602.04879): -A min(r, ratio_max) log pi, the weight constant, on tokens
// whose probability has moved by no more than allowed: pi - pi_old <= high where A > 0, >= -low elsewhere.
struct ProbabilityRange {
  double low = 0.2, high = 0.2;
  double ratio_max = 20;
};
TokenSurrogate dppo_surrogate(const at::Tensor& logps_N, const at::Tensor& old_logps_N,
                              const at::Tensor& advantages_N, const ProbabilityRange& range);

}  // namespace fulcrum
