// The keys of the policy-gradient trainers beyond PPO's clip range: other token losses, corrections for
// samples of another policy, bounds on the KL, and reward shaping; under TRL's names where TRL has one
// (without its vllm_ prefix). Torch-free; part of ObjectiveConfig.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/core/config.h"

namespace fulcrum {

struct SurrogateConfig {
  std::string loss_agg_mode;
  std::string importance_sampling_level = "token";
  std::optional<double> dual_clip;
  std::optional<double> cispo_ratio_min;
  // KL to the reference
  bool use_bias_correction_kl = false;
  std::optional<double> kl_input_clamp, kl_output_clamp;
  // Samples of another policy
  bool importance_sampling_correction = false;
  std::string importance_sampling_mode = "sequence_mask";
  double importance_sampling_cap = 3;
  std::optional<double> importance_sampling_floor;
  bool importance_sampling_normalize = false;
  std::string importance_sampling_denominator = "original";
  std::optional<double> off_policy_mask_threshold;
  // Rewards
  int64_t soft_punish_cache = 0;
  double soft_punish_factor = 1;
  bool normalize_advantages = false;
  double gamma = 1;

  void visit(ConfigVisitor& v) {
    v.field("loss_agg_mode", loss_agg_mode,
            Choices{{"", "token_mean", "seq_mean_token_mean", "seq_mean_token_mean_all_rows",
                     "seq_mean_token_sum", "seq_sum_over_const", "seq_mean_over_const"}},
            "how token losses are averaged, where loss_type's own way (empty) is not wanted; the constant is "
            "max_completion_length");
    v.field("importance_sampling_level", importance_sampling_level, Choices{{"token", "sequence"}},
            "what a ratio is formed of: single tokens, or the mean over the sequence (GSPO; epsilon is then "
            "about 3e-4)");
    v.field("dual_clip", dual_clip, above(1),
            "negative advantages: the loss is at most dual_clip times the advantage's size (verl's "
            "clip_ratio_c); null: off");
    v.field("cispo_ratio_min", cispo_ratio_min, above(0),
            "loss_type cispo: lower bound of the weight; null: none, as in TRL");
    v.field("use_bias_correction_kl", use_bias_correction_kl,
            "multiply the KL by the ratio to the old policy: with k3 its expected gradient is then the "
            "reverse KL's, without it the forward KL's");
    v.field("kl_input_clamp", kl_input_clamp, above(0),
            "bound on the log-ratio before kl_estimator; verl: 20; null: none");
    v.field("kl_output_clamp", kl_output_clamp, above(0),
            "bound on kl_estimator's value, outside of which its gradient is 0; verl, OpenRLHF: 10; null: "
            "none");
    v.field(
        "importance_sampling_correction", importance_sampling_correction,
        "weight tokens by the learner's over the sampler's probability (TRL's vllm_ key): for rollouts in "
        "another precision, and for max_staleness above 0");
    v.field("importance_sampling_mode", importance_sampling_mode,
            Choices{{"token_truncate", "token_mask", "sequence_truncate", "sequence_mask",
                     "geometric_truncate", "geometric_mask", "geometric_mask_token_weight"}},
            "whether weights beyond the cap are cut down to it or drop their tokens; per token, sequence or "
            "geometric mean");
    v.field("importance_sampling_cap", importance_sampling_cap, above(0), "largest weight");
    v.field("importance_sampling_floor", importance_sampling_floor, above(0), "smallest weight; null: none");
    v.field("importance_sampling_normalize", importance_sampling_normalize,
            "divide the weights by their mean over the step; costs a forward pass");
    v.field("importance_sampling_denominator", importance_sampling_denominator, Choices{{"original", "kept"}},
            "whether dropped tokens count in the means; kept costs a forward pass");
    v.field(
        "off_policy_mask_threshold", off_policy_mask_threshold, at_least(0),
        "leave out completions with a negative advantage that the policy has moved away from by more nats "
        "a token; null: off");
    v.field("soft_punish_cache", soft_punish_cache, at_least(0),
            "DAPO's soft penalty: the last tokens before max_completion_length over which the reward falls; "
            "0: off");
    v.field("soft_punish_factor", soft_punish_factor, above(0),
            "penalty at max_completion_length and beyond");
    v.field("normalize_advantages", normalize_advantages,
            "rloo: bring the step's advantages to mean 0 and deviation 1");
    v.field("gamma", gamma, between(0, 1), "reinforce_pp, ppo: discount from token to token");
  }
};

}  // namespace fulcrum
