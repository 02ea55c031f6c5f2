// A soup: one model made of several, tensor by tensor (SALSA, arXiv 2411.01798; model soups, arXiv
// 2203.05482; WARP, arXiv 2406.16768). Called by the references and by `fulcrum soup`. Pure but for a warning
// in the log; thread-safe. Memory beside the mapped files: the result, and where the recipe is slerp, of one
// tensor its values in double, of every model.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/reference/ingredient.h"
#include "engine/reference/reference_config.h"
#include "engine/reference/slerp.h"

namespace fulcrum {

enum class SoupRecipe {
  kWeighted,  // sum_i w_i theta_i
  kSlerp,     // base + the task vectors theta_i - base, merged on the sphere
};

struct SoupPlan {
  SoupRecipe recipe = SoupRecipe::kWeighted;
  std::vector<double> weights;  // one a model; empty: equal
  std::vector<SoupRule> rules;  // other weights for some tensors; the first that names a tensor counts
  bool normalize = true;        // divide weights by their sum
  bool extrapolate = false;     // negative weights, and without normalize any sum, are meant
  double position = 0.5;        // of a slerp of two, from the first to the second
  double lerp_threshold = kLerpThreshold;
  const Ingredient* base = nullptr;  // what all were tuned from: slerp and interpolation need it
  double interpolation = 1;          // result <- (1 - x) base + x soup (LITI)
  bool allow_other_base = false;     // average models that record different bases
  std::optional<DType> dtype;        // of the result; none: float32, and a single model's own
};

// Sums are formed in double, in the order of the models, and rounded once. Integers must be equal.
// kInvalidArgument: models that do not fit (naming the first difference), weights that make no average, a
// value that is not finite (naming tensor and model), a result beyond its type.
Result<Model> make_soup(std::span<const Ingredient> models, const SoupPlan& plan);

// The plan's weights as they are used, for `models` models. kInvalidArgument as above.
Result<std::vector<double>> soup_weights(const SoupPlan& plan, std::span<const double> weights,
                                         size_t models);

// The weights by which a moving average, ref <- (1 - mu) ref + mu theta, passes through the models in order.
std::vector<double> ema_weights(size_t models, double mu);

}  // namespace fulcrum
