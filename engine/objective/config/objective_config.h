// The keys of the objectives, under TRL's names. Torch-free, so that the client checks a job without an
// engine.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/config.h"
#include "engine/divergence/generators/table.h"
#include "engine/objective/config/f_dpg_config.h"
#include "engine/objective/config/ppo_config.h"
#include "engine/objective/config/surrogate_config.h"
#include "engine/objective/config/trainers.h"

namespace fulcrum {

// The values of `loss_type` that a trainer has, its default first.
inline std::vector<std::string> loss_types(std::string_view trainer) {
  if (trainer == "sft") return {"nll"};
  if (trainer == "reward") return {"sigmoid"};
  if (trainer == "rloo") return {"dapo"};
  if (is_dpg(trainer)) return {"reinforce"};
  if (trainer == "dpo") return {"sigmoid", "hinge", "ipo", "robust"};
  if (trainer == "tdpo") return {"tdpo2", "tdpo1"};
  return {"dapo", "grpo", "bnpo", "dr_grpo", "cispo", "dppo_tv"};
}

// `beta` where it is left out.
inline double default_beta(std::string_view trainer) {
  if (trainer == "dpo" || trainer == "tdpo") return 0.1;
  if (trainer == "rloo" || trainer == "ppo") return 0.05;  // TRL's kl_coef
  return trainer == "reinforce_pp" ? 0.01 : 0;
}

// The generator where `f_divergence_type` is left out.
inline std::string_view default_divergence(std::string_view trainer) {
  if (trainer == "dpo") return "reverse_kl";
  if (trainer == "alpha_dpg") return "alpha_divergence";
  return trainer == "tdpo" ? "forward_kl" : "js_divergence";
}

struct ObjectiveConfig {
  std::string trainer = "grpo";
  // GRPO family
  std::string loss_type;  // empty: the trainer's default, loss_types(trainer)
  double epsilon = 0.2;
  std::optional<double> epsilon_high;
  std::optional<double> delta;
  std::string scale_rewards = "group";
  bool mask_truncated_completions = false;
  int64_t num_iterations = 1;
  int64_t num_mini_batches = 1;
  SurrogateConfig surrogate;
  std::optional<double> beta;  // KL to the reference; DPO's beta. Read through strength().
  std::string kl_estimator;    // default: k3; ppo: k1 in the reward, k2 in the loss
  PpoConfig ppo;
  // Divergences
  std::string f_divergence_type;  // read through divergence()
  double f_alpha_divergence_coef = 0.5;
  double js_scale = 1.0;
  // DPO
  double label_smoothing = 0;
  std::optional<double> f_exponent_cap = 20;
  std::string f_exponent_guard = "linear";
  // Reward models
  double center_rewards_coefficient = 0;
  // TDPO
  std::optional<double> tdpo_alpha;  // default: 0.5
  // DPH-RL
  double dph_eta = 0.1;
  double dph_delta_max = 5;
  std::string dph_form = "centred";
  std::string dph_combine = "sum_of_means";
  double dph_accumulation = 1;
  FDpgConfig f_dpg;
  int64_t max_completion_length = 256;  // dr_grpo's constant; visited by the sampling config

  // Whether the policy moves between the updates on a rollout batch.
  bool several_updates() const { return num_iterations > 1 || num_mini_batches > 1; }
  double strength() const { return beta.value_or(default_beta(trainer)); }
  std::string divergence() const {
    return f_divergence_type.empty() ? std::string(default_divergence(trainer)) : f_divergence_type;
  }
  DivergenceOptions divergence_options() const { return {f_alpha_divergence_coef, js_scale}; }

  void visit(ConfigVisitor& v) {
    v.field("trainer", trainer, Choices{trainer_names()}, "the method");
    if (loss_type.empty()) loss_type = loss_types(trainer).front();
    v.field(
        "loss_type", loss_type,
        Choices{{"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "dppo_tv", "nll", "sigmoid", "hinge", "ipo",
                 "robust", "reinforce", "tdpo1", "tdpo2"}},
        "grpo and its kin, how token losses are averaged: grpo row means, bnpo tokens of the micro-step, "
        "dr_grpo a constant, dapo tokens of the step; cispo and dppo_tv are other losses, averaged as dapo; "
        "dpo: sigmoid, hinge, ipo or robust; tdpo: tdpo2, or tdpo1, which lets the chosen text's divergence "
        "grow; sft: nll; reward: sigmoid");
    v.field("epsilon", epsilon, above(0),
            "lower clip range of the ratio, and the upper one unless epsilon_high is set");
    v.field("epsilon_high", epsilon_high, above(0),
            "upper clip range of the ratio; loss_type cispo: the ratio's upper bound itself");
    v.field("delta", delta, above(1),
            "upper bound of the unclipped ratio for negative advantages (two-sided clipping); null: off");
    v.field(
        "scale_rewards", scale_rewards,
        Choices{{"group", "batch", "none", "paper_population", "verl", "verl_vectorized", "openrlhf", "oat"}},
        "what the advantages' spread is divided by: the group's or the batch's deviation, nothing, or a "
        "group's deviation as another library forms it");
    v.field("mask_truncated_completions", mask_truncated_completions,
            "leave completions cut by the length limit out of the loss");
    v.field("num_iterations", num_iterations, between(1, 64), "passes over each rollout batch");
    v.field("num_mini_batches", num_mini_batches, between(1, 1024),
            "optimizer steps of each pass: the batch is cut at random into so many parts of whole groups");
    surrogate.visit(v);
    v.field("beta", beta, at_least(0),
            "strength of the KL to the reference (default: 0; in the reward of rloo and ppo 0.05, of "
            "reinforce_pp 0.01), the beta of dpo and tdpo (default 0.1), or f_dpg's in "
            "reference * exp(reward / beta)");
    v.field("kl_estimator", kl_estimator, Choices{{"", "k1", "k2", "k3", "abs", "mixture"}},
            "per-token estimator of the KL; empty: k3, but ppo k1 in the reward and k2 in the loss; mixture: "
            "to the mean of policy and reference");
    ppo.visit(v);
    v.field(
        "f_divergence_type", f_divergence_type,
        "the divergence: link of dpo (default reverse_kl), of the policy from the reference at each "
        "token of tdpo (default forward_kl), rehearsal term of dph_rl, what f_dpg minimises (both: default "
        "js_divergence)");
    v.field("f_alpha_divergence_coef", f_alpha_divergence_coef, any_value(),
            "alpha of alpha_divergence, TRL's convention: 0 forward KL, 1 reverse KL");
    v.field("js_scale", js_scale, above(0),
            "factor on js_divergence: 1 is twice the Jensen-Shannon divergence, 0.5 the DPH paper's");
    v.field("label_smoothing", label_smoothing, from_below(0, 0.5),
            "share of DPO pairs assumed to be labelled the wrong way round");
    v.field("f_exponent_cap", f_exponent_cap, above(0),
            "dpo: where the link's slope passes exp(cap) f_exponent_guard takes over, so that gradients stay "
            "finite; null: off");
    v.field("f_exponent_guard", f_exponent_guard, Choices{{"linear", "clamp"}},
            "dpo: beyond f_exponent_cap the link goes on linearly, so that pairs far from the reference keep "
            "pulling; or it stays where it is, and they have no gradient any more, as in TRL");
    v.field("center_rewards_coefficient", center_rewards_coefficient, at_least(0),
            "reward: weight of the squared sum of a pair's scores, which keeps their mean near 0");
    v.field("tdpo_alpha", tdpo_alpha, at_least(0),
            "tdpo2: weight of the difference of the sequential divergences; 0 is DPO (default 0.5)");
    v.field("dph_eta", dph_eta, at_least(0), "strength of DPH-RL's divergence to the initial policy");
    v.field("dph_delta_max", dph_delta_max, above(0),
            "log-ratio above which DPH-RL's divergence continues linearly");
    v.field(
        "dph_form", dph_form, Choices{{"centred", "raw", "clamped", "mixture"}},
        "form of DPH-RL's divergence: centred; raw (forward_kl: the negative log-likelihood); the released "
        "code's clamped forward_kl; its js_divergence by mixture");
    v.field(
        "dph_combine", dph_combine, Choices{{"sum_of_means", "per_microbatch"}},
        "means over the whole step, or of each micro-batch over dph_accumulation, as in the released code");
    v.field("dph_accumulation", dph_accumulation, above(0),
            "dph_combine per_microbatch: the micro-batches a step counts as");
    v.section("f_dpg", f_dpg,
              "f_dpg and alpha_dpg: the target distribution and how its gradient is estimated");
  }
};

}  // namespace fulcrum
