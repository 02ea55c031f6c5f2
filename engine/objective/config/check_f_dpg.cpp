// The target of f-DPG and its divergence; what alpha-DPG fixes.
#include <cmath>

#include "engine/objective/config/check_objective.h"

namespace fulcrum {
namespace {

void check_constraints(const FDpgConfig& c, Complaints& out) {
  out.unless(c.target != "constraints" || !c.constraints.empty(),
             "'f_dpg.constraints' is empty, so the target is the reference itself: name a constraint, or use "
             "\"target\": \"reward\"");
  out.unless(c.target != "reward" || c.constraints.empty(),
             "'f_dpg.constraints' does nothing with \"target\": \"reward\": leave it out");
  for (size_t i = 0; i < c.constraints.size(); ++i) {
    const std::string& feature = c.constraints[i].feature;
    out.unless(!feature.empty(), "a constraint of 'f_dpg.constraints' has no 'feature'");
    for (size_t j = 0; j < i; ++j) {
      out.unless(c.constraints[j].feature != feature,
                 "'f_dpg.constraints' names " + in_quotes(feature) + " twice");
    }
  }
}

// A point-wise constraint puts target mass 0 on what violates it; there the pseudo-reward is -f'(inf).
void check_slope(const ObjectiveConfig& c, Complaints& out) {
  if (std::isfinite(facts_of(c.divergence(), c.divergence_options()).slope_at_infinity)) return;
  for (const ConstraintConfig& constraint : c.f_dpg.constraints) {
    if (!constraint.point_wise()) continue;
    out.unless(false,
               "f_divergence_type " + in_quotes(c.divergence()) + " cannot meet the point-wise constraint " +
                   in_quotes(constraint.feature) +
                   ": its slope is infinite where the target is 0, so one completion outside the target "
                   "would have an infinite pseudo-reward; use js_divergence, forward_kl, total_variation, "
                   "reverse_chi_squared or hellinger, or a moment below 1");
    return;
  }
}

// alpha-DPG's pseudo-reward outside the target is -1 at every alpha, so no slope is infinite.
void check_alpha_dpg(const ObjectiveConfig& c, Complaints& out) {
  const FDpgConfig unset;
  out.unless(c.f_dpg.z == unset.z && c.f_dpg.baseline == unset.baseline,
             "trainer 'alpha_dpg' fixes 'f_dpg.z' and 'f_dpg.baseline': leave them out, or use f_dpg");
  out.unless(
      c.f_dpg.target == "constraints" && c.f_dpg.distributional().empty(),
      "trainer 'alpha_dpg' trains on point-wise constraints only: one of moment 1 that names the verifier");
  out.unless(c.f_divergence_type.empty() || c.f_divergence_type == "alpha_divergence",
             "trainer 'alpha_dpg' is alpha_divergence: leave f_divergence_type out, or use f_dpg");
  out.unless(c.f_alpha_divergence_coef >= 0 && c.f_alpha_divergence_coef <= 1,
             "'f_alpha_divergence_coef' must be between 0 and 1 with trainer 'alpha_dpg'");
}

}  // namespace

void check_f_dpg(const ObjectiveConfig& c, Complaints& out) {
  const FDpgConfig unset;
  check_constraints(c.f_dpg, out);
  if (c.trainer == "alpha_dpg") {
    check_alpha_dpg(c, out);
  } else {
    check_slope(c, out);
  }
  out.unless(c.f_dpg.target != "reward" || (c.strength() > 0 && std::isfinite(c.strength())),
             "the target exp(reward / beta) needs 'beta' above 0");
  out.unless(c.f_dpg.target != "constraints" || !c.beta,
             "beta does nothing with f_dpg's constraints: leave it out, or use \"target\": \"reward\"");
  out.unless(c.f_dpg.baseline == "constant" || c.f_dpg.baseline_value == unset.baseline_value,
             "'f_dpg.baseline_value' acts with \"baseline\": \"constant\" only: leave it out");
  out.unless(!c.f_dpg.distributional().empty() ||
                 (c.f_dpg.fit_samples == unset.fit_samples && !c.f_dpg.fit_learning_rate),
             "'f_dpg.fit_samples' and 'f_dpg.fit_learning_rate' fit the lambda of a constraint with a moment "
             "between 0 and 1, and there is none: leave them out");
}

}  // namespace fulcrum
