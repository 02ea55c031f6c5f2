// How the models of a soup lie around their common start. Called by `fulcrum soup`. Pure, thread-safe.
#pragma once

#include <span>
#include <vector>

#include "engine/core/status.h"
#include "engine/reference/ingredient.h"

namespace fulcrum {

// cos(theta_i - base, theta_j - base) over all tensors together, [i][j]; 0 where a model is the base itself.
// Near 0: independent runs, as WARP (arXiv 2406.16768) finds; near 1: hardly two models. The models fit each
// other and the base (make_soup checks it); memory: one tensor of each in double.
Result<std::vector<std::vector<double>>> task_cosines(std::span<const Ingredient> models,
                                                      const Ingredient& base);

}  // namespace fulcrum
