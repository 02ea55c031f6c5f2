#include "engine/objective/f_dpg_target.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

std::optional<double> part(const Judgement& x, const std::string& name) {
  const auto found = x.parts.find(name);
  if (found == x.parts.end() || !std::isfinite(found->second)) return std::nullopt;
  return found->second;
}

}  // namespace

EnergyTarget::EnergyTarget(const FDpgConfig& config, std::optional<double> beta) {
  if (config.target == "reward") beta_ = beta;
  for (const ConstraintConfig& c : config.constraints) (c.point_wise() ? filters_ : tilted_).push_back(c);
}

std::vector<std::string> EnergyTarget::features() const {
  std::vector<std::string> out;
  for (const auto* list : {&filters_, &tilted_}) {
    for (const ConstraintConfig& c : *list) out.push_back(c.feature);
  }
  return out;
}

std::string EnergyTarget::advice() const {
  if (!beta_) return {};
  char beta[32];
  std::snprintf(beta, sizeof beta, "%g", *beta_);
  return "raise beta (" + std::string(beta) + " now), which divides the rewards";
}

bool EnergyTarget::knows(const Judgement& x) const {
  if (beta_) return x.reward && std::isfinite(*x.reward);
  return tilted_features(x) && std::all_of(filters_.begin(), filters_.end(), [&](const ConstraintConfig& c) {
           return part(x, c.feature).has_value();
         });
}

Result<std::optional<double>> EnergyTarget::log_filter(const Judgement& x) const {
  double log_b = 0;
  for (const ConstraintConfig& c : filters_) {
    const std::optional<double> value = part(x, c.feature);
    if (!value) return std::optional<double>();
    if (!(*value >= 0 && *value <= 1)) {
      return data_loss("reward " + in_quotes(c.feature) + " of a point-wise constraint scored " +
                       std::to_string(*value) + ": it must lie between 0 (violated) and 1 (satisfied)");
    }
    log_b += std::log(c.moment == 1 ? *value : 1 - *value);
  }
  return std::optional(log_b);
}

std::optional<std::vector<double>> EnergyTarget::tilted_features(const Judgement& x) const {
  std::vector<double> phi;
  for (const ConstraintConfig& c : tilted_) {
    const std::optional<double> value = part(x, c.feature);
    if (!value) return std::nullopt;
    phi.push_back(*value);
  }
  return phi;
}

Result<std::optional<double>> EnergyTarget::score(const Judgement& x,
                                                  const std::vector<double>& lambda) const {
  if (beta_) {
    if (!knows(x)) return std::optional<double>();
    const double score = *x.reward / *beta_;
    if (!std::isfinite(score))
      return data_loss("reward " + std::to_string(*x.reward) + " / beta is beyond a double: " + advice());
    return std::optional(score);
  }
  TRY(log_b, log_filter(x));
  const std::optional<std::vector<double>> phi = tilted_features(x);
  if (!log_b || !phi) return std::optional<double>();
  for (size_t k = 0; k < phi->size(); ++k) *log_b += lambda[k] * (*phi)[k];
  return log_b;
}

}  // namespace fulcrum
