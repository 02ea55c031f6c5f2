// The keys of PPO's critic. Torch-free; part of LearnerConfig.
#pragma once

#include <string>

#include "engine/core/config.h"

namespace fulcrum {

struct CriticConfig {
  std::string value_head = "separate";
  std::string value_model;
  double value_learning_rate = 1e-5;

  void visit(ConfigVisitor& v) {
    v.field("value_head", value_head, Choices{{"separate", "shared"}},
            "ppo: the critic is a model of its own, or a head on the policy's last hidden states");
    v.field(
        "value_model", value_model,
        "ppo: folder the separate critic starts from, a reward model as a rule; empty: the policy's model");
    v.field("value_learning_rate", value_learning_rate, at_least(0),
            "ppo: peak learning rate of the critic (shared: of its head); the schedule is the policy's");
  }
};

}  // namespace fulcrum
