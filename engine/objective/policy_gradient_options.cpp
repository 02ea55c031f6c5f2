// The config's keys into PolicyGradientOptions.
#include "engine/objective/policy_gradient.h"

namespace fulcrum {
namespace {

Status read_token_loss(const ObjectiveConfig& config, PolicyGradientOptions& out) {
  const SurrogateConfig& keys = config.surrogate;
  const double high = config.epsilon_high.value_or(config.epsilon);
  if (config.loss_type == "cispo") out.token_loss = TokenLoss::kCispo;
  if (config.loss_type == "dppo_tv") out.token_loss = TokenLoss::kDppoTv;
  if (out.token_loss != TokenLoss::kCispo && keys.cispo_ratio_min)
    return invalid_argument("cispo_ratio_min acts with loss_type cispo only: leave it out");
  if (out.token_loss != TokenLoss::kClipped && keys.dual_clip)
    return invalid_argument("dual_clip does nothing with loss_type " + config.loss_type + ": leave it out");
  TRY(level, parse_ratio_level(keys.importance_sampling_level));
  out.level = level;
  switch (out.token_loss) {
    case TokenLoss::kClipped:
      out.clip = {.low = config.epsilon, .high = high, .delta = config.delta, .dual = keys.dual_clip};
      if (config.epsilon >= 1)
        return invalid_argument("epsilon must be below 1: the lower clip bound is 1 - epsilon");
      if (config.delta && *config.delta <= 1 + high)
        return invalid_argument("delta must be above 1 + epsilon_high, or the clip range never acts");
      break;
    case TokenLoss::kCispo:
      if (config.delta) return invalid_argument("delta does nothing with loss_type cispo: leave it out");
      if (!config.epsilon_high || *config.epsilon_high < 1)
        return invalid_argument(
            "loss_type cispo needs epsilon_high of at least 1: it bounds the ratio itself (5 is usual)");
      out.cispo = {.low = keys.cispo_ratio_min, .high = *config.epsilon_high};
      break;
    case TokenLoss::kDppoTv:
      if (level != RatioLevel::kToken)
        return invalid_argument(
            "loss_type dppo_tv compares token probabilities: importance_sampling_level "
            "must be token");
      out.dppo = {.low = config.epsilon, .high = high};
      if (config.delta) out.dppo.ratio_max = *config.delta;
      break;
  }
  return ok_status();
}

Status read_averaging(const ObjectiveConfig& config, PolicyGradientOptions& out) {
  TRY(by_loss_type, parse_aggregation(config.loss_type));
  out.aggregation = by_loss_type;
  if (config.surrogate.loss_agg_mode.empty()) return ok_status();
  if (by_loss_type != Aggregation::kDapo)
    return invalid_argument("loss_agg_mode and loss_type " + config.loss_type +
                            " both say how losses are averaged: leave one out");
  TRY(mode, parse_aggregation_mode(config.surrogate.loss_agg_mode));
  out.aggregation = mode;
  return ok_status();
}

Status read_correction(const SurrogateConfig& keys, PolicyGradientOptions& out) {
  out.off_policy_threshold = keys.off_policy_mask_threshold;
  out.normalize_weights = keys.importance_sampling_normalize;
  out.count_kept_only = keys.importance_sampling_denominator == "kept";
  if (!keys.importance_sampling_correction) {
    const SurrogateConfig unused;
    if (keys.importance_sampling_mode != unused.importance_sampling_mode ||
        keys.importance_sampling_cap != unused.importance_sampling_cap || keys.importance_sampling_floor ||
        out.normalize_weights || out.count_kept_only)
      return invalid_argument(
          "the importance_sampling_* keys do nothing without importance_sampling_correction: set it, or "
          "leave "
          "them out");
    return ok_status();
  }
  TRY(mode, parse_correction_mode(keys.importance_sampling_mode));
  out.correction = {
      .mode = mode, .cap = keys.importance_sampling_cap, .floor = keys.importance_sampling_floor};
  if (out.correction->floor && *out.correction->floor >= out.correction->cap)
    return invalid_argument("importance_sampling_floor must be below importance_sampling_cap");
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
  out.several_updates = config.num_iterations > 1;
  out.max_completion_length = config.max_completion_length;
  const int64_t cache = config.surrogate.soft_punish_cache;
  if (cache > config.max_completion_length)
    return invalid_argument("soft_punish_cache must not exceed max_completion_length");
  if (cache > 0) {
    out.overlong = {.max_length = config.max_completion_length,
                    .cache = cache,
                    .factor = config.surrogate.soft_punish_factor};
  }
  return out;
}

}  // namespace fulcrum
