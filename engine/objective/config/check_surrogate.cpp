// The keys of the policy-gradient trainers among each other.
#include "engine/objective/config/check_objective.h"

namespace fulcrum {
namespace {

void check_token_loss(const ObjectiveConfig& c, Complaints& out) {
  const SurrogateConfig& keys = c.surrogate;
  const bool cispo = c.loss_type == "cispo", dppo = c.loss_type == "dppo_tv", clipped = !cispo && !dppo;
  out.unless(cispo || !keys.cispo_ratio_min, "cispo_ratio_min acts with loss_type cispo only: leave it out");
  out.unless(clipped || !keys.dual_clip,
             "dual_clip does nothing with loss_type " + c.loss_type + ": leave it out");
  out.unless(!clipped || c.epsilon < 1, "epsilon must be below 1: the lower clip bound is 1 - epsilon");
  out.unless(!clipped || !c.delta || *c.delta > 1 + c.epsilon_high.value_or(c.epsilon),
             "delta must be above 1 + epsilon_high, or the clip range never acts");
  out.unless(!cispo || !c.delta, "delta does nothing with loss_type cispo: leave it out");
  out.unless(!cispo || (c.epsilon_high && *c.epsilon_high >= 1),
             "loss_type cispo needs epsilon_high of at least 1: it bounds the ratio itself (5 is usual)");
  out.unless(!dppo || keys.importance_sampling_level == "token",
             "loss_type dppo_tv compares token probabilities: importance_sampling_level must be token");
  out.unless(
      keys.loss_agg_mode.empty() ||
          (c.loss_type != "grpo" && c.loss_type != "bnpo" && c.loss_type != "dr_grpo"),
      "loss_agg_mode and loss_type " + c.loss_type + " both say how losses are averaged: leave one out");
}

void check_correction(const SurrogateConfig& keys, Complaints& out) {
  const SurrogateConfig unset;
  const bool set = keys.importance_sampling_mode != unset.importance_sampling_mode ||
                   keys.importance_sampling_cap != unset.importance_sampling_cap ||
                   keys.importance_sampling_floor || keys.importance_sampling_normalize ||
                   keys.importance_sampling_denominator != unset.importance_sampling_denominator;
  out.unless(keys.importance_sampling_correction || !set,
             "the importance_sampling_* keys do nothing without importance_sampling_correction: set it, or "
             "leave them out");
  out.unless(
      !keys.importance_sampling_floor || *keys.importance_sampling_floor < keys.importance_sampling_cap,
      "importance_sampling_floor must be below importance_sampling_cap");
}

}  // namespace

void check_surrogate(const ObjectiveConfig& c, Complaints& out) {
  check_token_loss(c, out);
  check_correction(c.surrogate, out);
  out.unless(c.surrogate.soft_punish_cache <= c.max_completion_length,
             "soft_punish_cache must not exceed max_completion_length");
}

}  // namespace fulcrum
