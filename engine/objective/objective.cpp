#include "engine/objective/objective.h"

#include "engine/core/text.h"
#include "engine/objective/methods.h"
#include "engine/objective/trainers.h"

namespace fulcrum {
namespace {

// The first key of `config` that is not at its default; empty: none.
template <class Config>
std::string first_set_key(const Config& config) {
  const Json set = write_config(config), defaults = write_config(Config{});
  for (const auto& [key, value] : set.items()) {
    if (value != defaults[key]) return key;
  }
  return {};
}

// Keys that the chosen trainer would silently ignore are errors: the user believes they act.
Status check_unused_keys(const ObjectiveConfig& config) {
  const bool has_divergence = config.trainer == "dpo" || config.trainer == "dph_rl";
  if (!has_divergence && !config.f_divergence_type.empty()) {
    return invalid_argument("f_divergence_type does nothing with trainer " + in_quotes(config.trainer) +
                            ": leave it out, or use trainer dpo or dph_rl");
  }
  const bool no_reference = config.trainer == "sft" || config.trainer == "reward";
  if (no_reference && config.beta.value_or(0) != 0) {
    return invalid_argument("beta does nothing with trainer " + in_quotes(config.trainer) + ": leave it out");
  }
  if (const std::string key = first_set_key(config.ppo); config.trainer != "ppo" && !key.empty()) {
    return invalid_argument(key + " does nothing with trainer " + in_quotes(config.trainer) +
                            ": leave it out, or use trainer ppo");
  }
  if (config.trainer == "ppo" && config.scale_rewards != ObjectiveConfig().scale_rewards) {
    return invalid_argument(
        "scale_rewards does nothing with trainer 'ppo', whose advantages come from its critic: leave it out");
  }
  if (config.trainer != "reward" && config.center_rewards_coefficient != 0) {
    return invalid_argument("center_rewards_coefficient does nothing with trainer " +
                            in_quotes(config.trainer) + ": leave it out, or use trainer reward");
  }
  return ok_status();
}

}  // namespace

Result<std::unique_ptr<Objective>> make_objective(const ObjectiveConfig& config) {
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
