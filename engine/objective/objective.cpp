#include "engine/objective/objective.h"

#include "engine/core/text.h"
#include "engine/objective/config/check_objective.h"
#include "engine/objective/methods.h"

namespace fulcrum {

Result<std::unique_ptr<Objective>> make_objective(const ObjectiveConfig& given) {
  TRY_DO(check_objective(given));
  ObjectiveConfig config = given;
  if (config.loss_type.empty()) config.loss_type = loss_types(config.trainer).front();
#define FULCRUM_OBJECTIVE(name, rows, make) \
  if (config.trainer == #name) return make(config);
#include "engine/objective/config/objectives.def"
#undef FULCRUM_OBJECTIVE
  return internal_error("no objective is named " + in_quotes(config.trainer));
}

}  // namespace fulcrum
