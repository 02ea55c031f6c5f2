// The keys of the objectives, under TRL's names. Torch-free, so that the client checks a job without an
// engine.
#pragma once

#include <optional>
#include <string>

#include "engine/core/config.h"
#include "engine/objective/f_dpg_config.h"
#include "engine/objective/trainers.h"

namespace fulcrum {

struct ObjectiveConfig {
  std::string trainer = "grpo";
  // GRPO family
  std::string loss_type = "dapo";
  double epsilon = 0.2;
  std::optional<double> epsilon_high;
  std::optional<double> delta;
  std::string scale_rewards = "group";
  bool mask_truncated_completions = false;
  int64_t num_iterations = 1;
  // KL to the reference; DPO's beta
  std::optional<double> beta;  // default: 0 for grpo and dph_rl, 0.1 for dpo
  std::string kl_estimator = "k3";
  // Divergences
  std::string f_divergence_type;  // default: reverse_kl for dpo, js_divergence for dph_rl
  double f_alpha_divergence_coef = 0.5;
  double js_scale = 1.0;
  // DPO
  double label_smoothing = 0;
  std::optional<double> f_exponent_cap = 20;
  // DPH-RL
  double dph_eta = 0.1;
  double dph_delta_max = 5;
  FDpgConfig f_dpg;
  int64_t max_completion_length = 256;  // dr_grpo's constant; visited by the sampling config

  void visit(ConfigVisitor& v) {
    v.field("trainer", trainer, Choices{trainer_names()}, "the method");
    v.field("loss_type", loss_type, Choices{{"grpo", "bnpo", "dr_grpo", "dapo"}},
            "how token losses are averaged: grpo row means, bnpo tokens of the micro-step, dr_grpo a "
            "constant, dapo tokens of the step");
    v.field("epsilon", epsilon, above(0),
            "lower clip range of the ratio, and the upper one unless epsilon_high is set");
    v.field("epsilon_high", epsilon_high, above(0), "upper clip range of the ratio");
    v.field("delta", delta, above(1),
            "upper bound of the unclipped ratio for negative advantages (two-sided clipping); null: off");
    v.field("scale_rewards", scale_rewards, Choices{{"group", "batch", "none"}},
            "what the advantages' spread is divided by");
    v.field("mask_truncated_completions", mask_truncated_completions,
            "leave completions cut by the length limit out of the loss");
    v.field("num_iterations", num_iterations, between(1, 64), "optimizer steps on each rollout batch");
    v.field("beta", beta, at_least(0),
            "strength of the KL to the reference (grpo, dph_rl: default 0), DPO's beta (default 0.1), or "
            "f_dpg's in "
            "reference * exp(reward / beta)");
    v.field("kl_estimator", kl_estimator, Choices{{"k1", "k2", "k3"}},
            "per-token estimator of the KL in the loss");
    v.field("f_divergence_type", f_divergence_type,
            "the divergence: link of dpo (default reverse_kl), rehearsal term of dph_rl, what f_dpg "
            "minimises (default "
            "js_divergence)");
    v.field("f_alpha_divergence_coef", f_alpha_divergence_coef, any_value(),
            "alpha of alpha_divergence, TRL's convention: 0 forward KL, 1 reverse KL");
    v.field("js_scale", js_scale, above(0),
            "factor on js_divergence: 1 is twice the Jensen-Shannon divergence, 0.5 the DPH paper's");
    v.field("label_smoothing", label_smoothing, from_below(0, 0.5),
            "share of DPO pairs assumed to be labelled the wrong way round");
    v.field("f_exponent_cap", f_exponent_cap, above(0),
            "dpo: where the link's slope passes exp(cap) it goes on linearly, so that pairs far from the "
            "reference keep a "
            "finite gradient; null: off");
    v.field("dph_eta", dph_eta, at_least(0), "strength of DPH-RL's divergence to the initial policy");
    v.field("dph_delta_max", dph_delta_max, above(0),
            "log-ratio above which DPH-RL's divergence continues linearly");
    v.section("f_dpg", f_dpg,
              "f_dpg and alpha_dpg: the target distribution and how its gradient is estimated");
  }
};

}  // namespace fulcrum
