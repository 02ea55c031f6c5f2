#include "engine/objective/objective.h"

#include <algorithm>

#include "engine/core/text.h"
#include "engine/objective/check_loss_type.h"
#include "engine/objective/methods.h"
#include "engine/objective/trainers.h"

namespace fulcrum {
namespace {

// A key that the chosen trainer would silently ignore is an error: the user believes it acts.
Status only_with(const ObjectiveConfig& config, const std::string& key, bool is_set,
                 const std::vector<std::string>& trainers) {
  if (!is_set || std::find(trainers.begin(), trainers.end(), config.trainer) != trainers.end())
    return ok_status();
  return invalid_argument(key + " does nothing with trainer " + in_quotes(config.trainer) +
                          ": leave it out, or use trainer " + join(trainers, " or "));
}

Status check_unused_keys(const ObjectiveConfig& config) {
  const ObjectiveConfig defaults;
  TRY_DO(
      only_with(config, "f_divergence_type", !config.f_divergence_type.empty(), {"dpo", "tdpo", "dph_rl"}));
  TRY_DO(only_with(config, "label_smoothing", config.label_smoothing != 0, {"dpo"}));
  TRY_DO(only_with(config, "f_exponent_cap", config.f_exponent_cap != defaults.f_exponent_cap, {"dpo"}));
  TRY_DO(only_with(config, "tdpo_alpha", config.tdpo_alpha.has_value(), {"tdpo"}));
  if (config.trainer == "sft" && config.beta.value_or(0) != 0) {
    return invalid_argument("beta does nothing with trainer 'sft': leave it out");
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
