// The keys of f-DPG (trainer f_dpg) and alpha-DPG (trainer alpha_dpg): the section `f_dpg` of a job.
// Torch-free, so that the client checks a job without an engine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/core/config.h"

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
    v.field("fit_samples", fit_samples, at_least(2),
            "completions of the initial policy that the constraints' lambda is fitted on");
    v.field("fit_learning_rate", fit_learning_rate, above(0),
            "gradient steps of this size fit lambda, as in the paper; null: damped Newton");
  }
};

}  // namespace fulcrum
