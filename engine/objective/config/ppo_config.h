// The keys that only PPO has, under TRL's names where TRL has one. Torch-free; part of ObjectiveConfig.
#pragma once

#include <optional>
#include <string>

#include "engine/core/config.h"

namespace fulcrum {

// The largest step of PPO's controller of beta, as a share of beta n / horizon (KlController).
inline constexpr double kMaxKlError = 0.2;

struct PpoConfig {
  double lam = 0.95;
  double vf_coef = 0.1;
  std::optional<double> cliprange_value = 0.2;
  std::string kl_in = "reward";
  std::optional<double> kl_target;
  double kl_horizon = 10000;
  bool whiten_rewards = false;
  std::optional<double> score_clip;
  std::optional<double> missing_eos_penalty;

  void visit(ConfigVisitor& v) {
    v.field("lam", lam, between(0, 1), "ppo: lambda of the advantage estimate; 1: no bias of the critic's");
    v.field("vf_coef", vf_coef, at_least(0), "ppo: weight of the critic's loss");
    v.field("cliprange_value", cliprange_value, above(0),
            "ppo: how far a value may move from the old one before its gradient ends; null: no limit");
    v.field("kl_in", kl_in, Choices{{"reward", "loss"}},
            "ppo: the KL to the reference is taken off each token's reward, or added to the loss");
    v.field(
        "kl_target", kl_target, above(0),
        "ppo: KL of a sequence, in nats, towards which beta is moved from step to step; null: beta stays");
    v.field("kl_horizon", kl_horizon, above(0),
            "ppo: completions after which beta has followed a KL off its target by a fifth (with kl_target)");
    v.field("whiten_rewards", whiten_rewards, "ppo: divide the token rewards by their deviation in the step");
    v.field("score_clip", score_clip, above(0), "ppo: rewards are cut to +-score_clip; null: off");
    v.field("missing_eos_penalty", missing_eos_penalty, above(0),
            "ppo: taken off the reward of a completion cut by the length limit; null: off");
  }
};

}  // namespace fulcrum
