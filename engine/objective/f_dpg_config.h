// The keys of f-DPG (trainer f_dpg) and alpha-DPG (trainer alpha_dpg): the section `f_dpg` of a job.
// Torch-free, so that the client checks a job without an engine.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/config.h"
#include "engine/core/text.h"
#include "engine/divergence/generators/table.h"

namespace fulcrum {

struct ConstraintConfig {
  std::string feature;
  double moment = 1;

  // Holds for every completion of the target: a filter, not a tilt.
  bool point_wise() const { return moment == 0 || moment == 1; }

  void visit(ConfigVisitor& v) {
    v.field("feature", feature,
            "whose score is constrained: the name of a reward in reward_funcs (the second of one name is "
            "NAME_2)");
    v.field("moment", moment, between(0, 1),
            "mean score under the target; 1: every completion scores 1 (point-wise; a score in between "
            "counts as its "
            "probability); 0: every one scores 0");
  }
};

struct FDpgConfig {
  std::string target = "constraints";
  std::vector<ConstraintConfig> constraints;
  std::string baseline = "leave_one_out";
  double baseline_value = 0;
  std::string z = "running";
  std::optional<double> pseudo_reward_max;
  double log_rho_max = 20;
  double max_dropped_share = 0.5;
  int64_t fit_samples = 4096;
  std::optional<double> fit_learning_rate;

  // The constraints that lambda is fitted to.
  std::vector<ConstraintConfig> distributional() const {
    std::vector<ConstraintConfig> out;
    for (const ConstraintConfig& c : constraints) {
      if (!c.point_wise()) out.push_back(c);
    }
    return out;
  }

  void visit(ConfigVisitor& v) {
    v.field("target", target, Choices{{"constraints", "reward"}},
            "the distribution the policy is brought to: constraints, the reference made to satisfy "
            "`constraints` and "
            "otherwise kept; reward, reference * exp(reward / beta), RLHF's optimum");
    v.list("constraints", constraints, "what holds under the target");
    v.field(
        "baseline", baseline, Choices{{"none", "centre", "constant", "leave_one_out"}},
        "subtracted from pseudo-rewards: centre, their value at the optimum; leave_one_out, the mean of the "
        "prompt's other samples");
    v.field("baseline_value", baseline_value, any_value(), "the baseline `constant`");
    v.field("z", z, Choices{{"running", "per_batch", "per_batch_leave_one_out"}},
            "a prompt's partition function: running, mean weight of all samples ever drawn for it; "
            "per_batch, of this "
            "step's; per_batch_leave_one_out, of this step's other samples (prompts seen once)");
    v.field(
        "pseudo_reward_max", pseudo_reward_max, above(0),
        "pseudo-rewards above it are cut, which bounds the gradient and biases it towards modes; null: off "
        "(alpha_dpg: 10)");
    v.field("log_rho_max", log_rho_max, above(0), "log importance ratios policy / proposal above it are cut");
    v.field("max_dropped_share", max_dropped_share, between(0, 1),
            "share of a step's completions that may be without a score before the job stops");
    v.field("fit_samples", fit_samples, at_least(2),
            "completions of the initial policy that the constraints' lambda is fitted on");
    v.field("fit_learning_rate", fit_learning_rate, above(0),
            "gradient steps of this size fit lambda, as in the paper; null: damped Newton");
  }
};

// The generator the trainer uses where `f_divergence_type` is left out.
inline std::string f_dpg_divergence(const std::string& f_divergence_type) {
  return f_divergence_type.empty() ? "js_divergence" : f_divergence_type;
}

namespace f_dpg_detail {

// A point-wise constraint puts target mass 0 on what violates it; there the pseudo-reward is -f'(inf).
inline Status check_slope(const FDpgConfig& config, const std::string& divergence,
                          const DivergenceOptions& options) {
  double slope = 0;
  for_each_generator(options, [&](std::string_view name, const auto& g) {
    if (name == divergence) slope = g.facts().slope_at_infinity;
  });
  if (std::isfinite(slope)) return ok_status();
  for (const ConstraintConfig& c : config.constraints) {
    if (!c.point_wise()) continue;
    return invalid_argument(
        "f_divergence_type " + in_quotes(divergence) + " cannot meet the point-wise constraint " +
        in_quotes(c.feature) +
        ": its slope is infinite where the target is 0, so one completion "
        "outside the target would have an infinite pseudo-reward; use js_divergence, forward_kl, "
        "total_variation, reverse_chi_squared or hellinger, or a moment below 1");
  }
  return ok_status();
}

}  // namespace f_dpg_detail

// What single ranges cannot say of the target and its divergence. kInvalidArgument, in words.
inline Status check_f_dpg(const FDpgConfig& config, const std::string& divergence,
                          const DivergenceOptions& options) {
  TRY_DO(check_divergence(divergence, options));
  if (config.target == "constraints" && config.constraints.empty()) {
    return invalid_argument(
        "'f_dpg.constraints' is empty, so the target is the reference itself: name a constraint, "
        "or use \"target\": \"reward\"");
  }
  if (config.target == "reward" && !config.constraints.empty()) {
    return invalid_argument("'f_dpg.constraints' does nothing with \"target\": \"reward\": leave it out");
  }
  for (size_t i = 0; i < config.constraints.size(); ++i) {
    const std::string& feature = config.constraints[i].feature;
    if (feature.empty()) return invalid_argument("a constraint of 'f_dpg.constraints' has no 'feature'");
    for (size_t j = 0; j < i; ++j) {
      if (config.constraints[j].feature == feature)
        return invalid_argument("'f_dpg.constraints' names " + in_quotes(feature) + " twice");
    }
  }
  return f_dpg_detail::check_slope(config, divergence, options);
}

}  // namespace fulcrum
