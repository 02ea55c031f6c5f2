#include "engine/objective/objective.h"

#include <algorithm>
#include <utility>

#include "engine/core/text.h"
#include "engine/objective/check_loss_type.h"
#include "engine/objective/methods.h"
#include "engine/objective/trainers.h"

namespace fulcrum {
namespace {

using Trainers = std::vector<std::string>;

// Which trainers read a key that the others would ignore.
std::vector<std::pair<std::string, Trainers>> key_readers() {
  const Trainers grouped = {"grpo", "dph_rl"};
  const Trainers with_kl_in_loss = {"grpo", "dph_rl", "reinforce_pp_baseline"};
  const Trainers with_kl_estimator = {"grpo", "dph_rl", "reinforce_pp_baseline", "ppo"};
  const Trainers free_ratio = {"grpo", "dph_rl", "reinforce_pp", "reinforce_pp_baseline", "ppo"};
  const Trainers rewarded = {"grpo", "dph_rl", "rloo", "reinforce_pp", "reinforce_pp_baseline"};
  const Trainers surrogate = {"grpo", "dph_rl", "rloo", "reinforce_pp", "reinforce_pp_baseline", "ppo"};
  Trainers with_beta = surrogate;
  with_beta.insert(with_beta.end(), {"dpo", "tdpo", "f_dpg"});
  std::vector<std::pair<std::string, Trainers>> out = {
      {"f_divergence_type", {"dpo", "tdpo", "dph_rl", "f_dpg", "alpha_dpg"}},
      {"beta", with_beta},
      {"scale_rewards", grouped},
      {"loss_agg_mode", free_ratio},
      {"importance_sampling_level", free_ratio},
      {"kl_estimator", with_kl_estimator},
      {"use_bias_correction_kl", with_kl_in_loss},
      {"kl_input_clamp", with_kl_estimator},
      {"kl_output_clamp", with_kl_estimator},
      {"mask_truncated_completions", surrogate},
      {"epsilon", surrogate},
      {"epsilon_high", surrogate},
      {"delta", surrogate},
      {"dual_clip", surrogate},
      {"cispo_ratio_min", surrogate},
      {"importance_sampling_correction", surrogate},
      {"importance_sampling_mode", surrogate},
      {"importance_sampling_cap", surrogate},
      {"importance_sampling_floor", surrogate},
      {"importance_sampling_normalize", surrogate},
      {"importance_sampling_denominator", surrogate},
      {"off_policy_mask_threshold", surrogate},
      {"soft_punish_cache", rewarded},
      {"soft_punish_factor", rewarded},
      {"normalize_advantages", {"rloo"}},
      {"gamma", {"reinforce_pp", "ppo"}},
      {"center_rewards_coefficient", {"reward"}},
      {"label_smoothing", {"dpo"}},
      {"f_exponent_cap", {"dpo"}},
      {"tdpo_alpha", {"tdpo"}},
      {"f_dpg", {"f_dpg", "alpha_dpg"}},
      {"dph_form", {"dph_rl"}},
      {"dph_combine", {"dph_rl"}},
      {"dph_accumulation", {"dph_rl"}}};
  for (const KeyInfo& key : config_keys<PpoConfig>()) out.emplace_back(key.path, Trainers{"ppo"});
  return out;
}

// Keys that the chosen trainer would silently ignore are errors: the user believes they act.
Status check_unused_keys(const ObjectiveConfig& config) {
  const Json set = write_config(config), defaults = write_config(ObjectiveConfig{});
  for (const auto& [key, trainers] : key_readers()) {
    const bool read = std::find(trainers.begin(), trainers.end(), config.trainer) != trainers.end();
    if (read || set.at(key) == defaults.at(key)) continue;
    return invalid_argument(key + " does nothing with trainer " + in_quotes(config.trainer) +
                            ": leave it out, or use trainer " + join(trainers, " or "));
  }
  return check_loss_type(config);
}

}  // namespace

Result<std::unique_ptr<Objective>> make_objective(const ObjectiveConfig& given) {
  ObjectiveConfig config = given;
  if (config.loss_type.empty()) config.loss_type = loss_types(config.trainer).front();
#define FULCRUM_OBJECTIVE(name, rows, make) \
  if (config.trainer == #name) {            \
    TRY_DO(check_unused_keys(config));      \
    return make(config);                    \
  }
#include "engine/objective/objectives.def"
#undef FULCRUM_OBJECTIVE
  const std::vector<std::string> names = trainer_names();
  const std::string nearest = nearest_name(config.trainer, names);
  return invalid_argument("unknown trainer " + in_quotes(config.trainer) +
                          (nearest.empty() ? "" : ", did you mean '" + nearest + "'?") +
                          " (known: " + join(names, ", ") + ")");
}

}  // namespace fulcrum
