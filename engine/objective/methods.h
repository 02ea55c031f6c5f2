// The functions that make the entries of objectives.def. Called by make_objective only.
#pragma once

#include <memory>

#include "engine/objective/objective.h"

namespace fulcrum {

#define FULCRUM_OBJECTIVE(name, rows, make) \
  Result<std::unique_ptr<Objective>> make(const ObjectiveConfig& config);
#include "engine/objective/config/objectives.def"
#undef FULCRUM_OBJECTIVE

}  // namespace fulcrum
