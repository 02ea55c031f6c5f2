// The config's keys, which check_objective() has found to fit together, into PolicyGradientOptions.
#include "engine/objective/policy_gradient.h"

namespace fulcrum {
namespace {

Status read_token_loss(const ObjectiveConfig& config, PolicyGradientOptions& out) {
  const double high = config.epsilon_high.value_or(config.epsilon);
  if (config.loss_type == "cispo") out.token_loss = TokenLoss::kCispo;
  if (config.loss_type == "dppo_tv") out.token_loss = TokenLoss::kDppoTv;
  TRY(level, parse_ratio_level(config.surrogate.importance_sampling_level));
  out.level = level;
  switch (out.token_loss) {
    case TokenLoss::kClipped:
      out.clip = {
          .low = config.epsilon, .high = high, .delta = config.delta, .dual = config.surrogate.dual_clip};
      break;
    case TokenLoss::kCispo:
      out.cispo = {.low = config.surrogate.cispo_ratio_min, .high = high};
      break;
    case TokenLoss::kDppoTv:
      out.dppo = {.low = config.epsilon, .high = high};
      if (config.delta) out.dppo.ratio_max = *config.delta;
      break;
  }
  return ok_status();
}

Status read_averaging(const ObjectiveConfig& config, PolicyGradientOptions& out) {
  const std::string& mode = config.surrogate.loss_agg_mode;
  TRY(aggregation, mode.empty() ? parse_aggregation(config.loss_type) : parse_aggregation_mode(mode));
  out.aggregation = aggregation;
  return ok_status();
}

Status read_correction(const SurrogateConfig& keys, PolicyGradientOptions& out) {
  out.off_policy_threshold = keys.off_policy_mask_threshold;
  out.normalize_weights = keys.importance_sampling_normalize;
  out.count_kept_only = keys.importance_sampling_denominator == "kept";
  if (!keys.importance_sampling_correction) return ok_status();
  TRY(mode, parse_correction_mode(keys.importance_sampling_mode));
  out.correction = {
      .mode = mode, .cap = keys.importance_sampling_cap, .floor = keys.importance_sampling_floor};
  return ok_status();
}

Status read_kl(const ObjectiveConfig& config, PolicyGradientOptions& out) {
  const SurrogateConfig& keys = config.surrogate;
  TRY(estimator, parse_kl_estimator(config.kl_estimator.empty() ? "k3" : config.kl_estimator));
  out.kl_estimator = estimator;
  out.kl_clamp = {.input = keys.kl_input_clamp, .output = keys.kl_output_clamp};
  out.beta = config.beta.value_or(0);
  out.bias_corrected_kl = keys.use_bias_correction_kl;
  return ok_status();
}

}  // namespace

Result<PolicyGradientOptions> policy_gradient_options(const ObjectiveConfig& config) {
  PolicyGradientOptions out;
  TRY(scale, parse_scale_rewards(config.scale_rewards));
  out.scale = scale;
  TRY_DO(read_token_loss(config, out));
  TRY_DO(read_averaging(config, out));
  TRY_DO(read_correction(config.surrogate, out));
  TRY_DO(read_kl(config, out));
  out.mask_truncated = config.mask_truncated_completions;
  out.several_updates = config.several_updates();
  out.max_completion_length = config.max_completion_length;
  const int64_t cache = config.surrogate.soft_punish_cache;
  if (cache > 0) {
    out.overlong = {.max_length = config.max_completion_length,
                    .cache = cache,
                    .factor = config.surrogate.soft_punish_factor};
  }
  return out;
}

}  // namespace fulcrum
