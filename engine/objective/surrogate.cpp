#include "engine/objective/surrogate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "engine/core/text.h"
#include "engine/objective/masked.h"

namespace fulcrum {

at::Tensor importance_ratio(const at::Tensor& log_ratio_N, std::optional<double> log_ratio_bound) {
  if (!log_ratio_bound) return log_ratio_N.exp();
  return at::clamp(log_ratio_N, -*log_ratio_bound, *log_ratio_bound).exp();
}

Result<RatioLevel> parse_ratio_level(std::string_view name) {
  if (name == "token") return RatioLevel::kToken;
  if (name == "sequence") return RatioLevel::kSequenceMean;
  return invalid_argument("importance_sampling_level must be token or sequence, not " + in_quotes(name));
}

at::Tensor log_ratio_at(RatioLevel level, const LossInput& input, const at::Tensor& log_ratio_N,
                        const at::Tensor& mask_N) {
  if (level == RatioLevel::kToken) return log_ratio_N;
  const at::Tensor rows_R = level == RatioLevel::kSequenceMean ? row_means(input, log_ratio_N, mask_N)
                                                               : row_sums(input, log_ratio_N, mask_N);
  return at::index_select(rows_R, 0, input.row_N).to(log_ratio_N.scalar_type());
}

TokenSurrogate clipped_surrogate(const at::Tensor& log_ratio_N, const at::Tensor& advantages_N,
                                 const ClipRange& clip) {
  const at::Tensor ratio_N = importance_ratio(log_ratio_N, clip.log_ratio_bound);
  const at::Tensor bounded_N = clip.delta ? at::clamp_max(ratio_N, *clip.delta) : ratio_N;
  const at::Tensor unclipped_N = -advantages_N * bounded_N;
  const at::Tensor clipped_N = -advantages_N * at::clamp(ratio_N, 1 - clip.low, 1 + clip.high);
  // On a tie the inside branch holds, with its gradient; at::max would give half of it.
  const at::Tensor inside_N = unclipped_N >= clipped_N;
  at::Tensor loss_N = at::where(inside_N, unclipped_N, clipped_N);
  at::Tensor dual_N = at::zeros_like(inside_N);
  if (clip.dual) {
    const at::Tensor bound_N = -advantages_N * *clip.dual;
    dual_N = (advantages_N < 0) & (bound_N < loss_N);
    loss_N = at::where(dual_N, bound_N, loss_N);
  }
  return {loss_N, ratio_N.detach(), ~inside_N & ~dual_N, dual_N};
}

TokenSurrogate cispo_surrogate(const at::Tensor& logps_N, const at::Tensor& log_ratio_N,
                               const at::Tensor& advantages_N, const RatioRange& range) {
  const at::Tensor ratio_N = log_ratio_N.detach().exp();
  const at::Tensor above_N = range.low ? at::clamp_min(ratio_N, *range.low) : ratio_N;
  const at::Tensor weight_N = at::clamp_max(above_N, range.high);
  return {-weight_N * advantages_N * logps_N, ratio_N, weight_N != ratio_N, at::Tensor()};
}

TokenSurrogate dppo_surrogate(const at::Tensor& logps_N, const at::Tensor& old_logps_N,
                              const at::Tensor& advantages_N, const ProbabilityRange& range) {
  const at::Tensor logps = logps_N.detach();
  const at::Tensor moved_N = logps.exp() - old_logps_N.exp();
  const at::Tensor kept_N = at::where(advantages_N > 0, moved_N <= range.high, moved_N >= -range.low);
  const at::Tensor ratio_N = (logps - old_logps_N).exp();
  const at::Tensor weight_N = at::clamp_max(ratio_N, range.ratio_max);
  return {keep(-weight_N * advantages_N * logps_N, kept_N), ratio_N, ~kept_N, at::Tensor()};
}

}  // namespace fulcrum
