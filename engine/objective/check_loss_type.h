// Whether `loss_type` is one of the trainer's. Torch-free: for the client's check of a job and for
// make_objective. Pure.
#pragma once

#include <algorithm>

#include "engine/core/status.h"
#include "engine/core/text.h"
#include "engine/objective/objective_config.h"

namespace fulcrum {

// kInvalidArgument naming those it has. Empty stands for the default.
inline Status check_loss_type(const ObjectiveConfig& config) {
  const std::vector<std::string> known = loss_types(config.trainer);
  if (config.loss_type.empty() || std::find(known.begin(), known.end(), config.loss_type) != known.end())
    return ok_status();
  return invalid_argument("trainer " + in_quotes(config.trainer) + " has no loss_type " +
                          in_quotes(config.loss_type) + " (it has: " + join(known, ", ") + ")");
}

}  // namespace fulcrum
