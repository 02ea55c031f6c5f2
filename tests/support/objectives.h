// Objectives by name, and why a config is refused. For tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/objective/objective.h"

namespace fulcrum::testing {

inline ObjectiveConfig config_of(const std::string& trainer, const std::string& loss_type = "") {
  ObjectiveConfig config;
  config.trainer = trainer;
  config.loss_type = loss_type;
  return config;
}

// Throws, and so fails the test, where the config is refused.
inline std::unique_ptr<Objective> make(const ObjectiveConfig& config) {
  auto made = make_objective(config);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(*made);
}

inline std::string refusal(const ObjectiveConfig& config) {
  const auto made = make_objective(config);
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  return made.status().message();
}

// Every divergence by name, the alpha divergence once for each order: (name, alpha).
inline std::vector<std::pair<std::string, double>> generators_and_orders(const std::vector<double>& alphas) {
  std::vector<std::pair<std::string, double>> out;
  for (const std::string& name : divergence_names()) {
    for (const double alpha : alphas)
      if (name == "alpha_divergence" || alpha == alphas.front()) out.emplace_back(name, alpha);
  }
  return out;
}

}  // namespace fulcrum::testing
