#include "engine/objective/objective.h"

#include "engine/core/text.h"
#include "engine/objective/methods.h"
#include "engine/objective/trainers.h"

namespace fulcrum {
namespace {

// Keys that the chosen trainer would silently ignore are errors: the user believes they act.
Status check_unused_keys(const ObjectiveConfig& config) {
  const bool is_dpg = config.trainer == "f_dpg" || config.trainer == "alpha_dpg";
  const bool has_divergence = config.trainer == "dpo" || config.trainer == "dph_rl" || is_dpg;
  if (!is_dpg && write_config(config.f_dpg) != write_config(FDpgConfig{})) {
    return invalid_argument("section 'f_dpg' does nothing with trainer " + in_quotes(config.trainer) +
                            ": leave it out");
  }
  if (!has_divergence && !config.f_divergence_type.empty()) {
    return invalid_argument("f_divergence_type does nothing with trainer " + in_quotes(config.trainer) +
                            ": leave it out, or use trainer dpo, dph_rl or f_dpg");
  }
  if (config.trainer == "sft" && config.beta.value_or(0) != 0) {
    return invalid_argument("beta does nothing with trainer 'sft': leave it out");
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
