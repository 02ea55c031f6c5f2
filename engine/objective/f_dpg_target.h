// f-DPG's target as an energy-based model on top of the base model a: P(x) = a(x) exp(score(x)), from what
// the judges say of x (f-DPG, arXiv 2302.08215, section 3; constraints: GDC, arXiv 2012.11635). Called by
// f_dpg.cpp and by the pipeline's fit of lambda. Immutable, torch-free.
//
//   reward                    score = r / beta                 RLHF's optimum
//   point-wise constraint     score = log b                    b in [0, 1]; a filter where b is 0 or 1
//   distributional            score = lambda . phi             lambda fitted (max_entropy.h)
//   both                      score = log b + lambda . phi
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/objective/config/f_dpg_config.h"

namespace fulcrum {

// Where ObjectiveState keeps the fitted lambda.
inline constexpr const char* kFDpgLambda = "f_dpg.lambda";

// What is known of a completion.
struct Judgement {
  std::optional<double> reward;
  const std::map<std::string, double>& parts;  // by reward name
};

class EnergyTarget {
 public:
  // `beta`: of the target reward. A config that check_objective() has found to fit.
  EnergyTarget(const FDpgConfig& config, std::optional<double> beta);

  // The constraints that lambda belongs to, in its order; empty: nothing to fit.
  const std::vector<ConstraintConfig>& tilted() const { return tilted_; }
  // Names of everything that is constrained.
  std::vector<std::string> features() const;

  // "raise beta (0.1 now), which divides the rewards": what helps a target that is too narrow; empty for
  // constraints.
  std::string advice() const;

  // log P(x) - log a(x); -inf: outside the target. No value: a judge gave none, nothing can be said of x.
  // kDataLoss for a point-wise feature that is no probability, or a reward / beta beyond a double.
  Result<std::optional<double>> score(const Judgement& x, const std::vector<double>& lambda) const;

  // Whether the judges gave what score() needs.
  bool knows(const Judgement& x) const;

  // The two parts of it that the fit is made of: log b(x), and phi(x).
  Result<std::optional<double>> log_filter(const Judgement& x) const;
  std::optional<std::vector<double>> tilted_features(const Judgement& x) const;

 private:
  std::optional<double> beta_;  // of the target reward; else constraints
  std::vector<ConstraintConfig> filters_, tilted_;
};

}  // namespace fulcrum
