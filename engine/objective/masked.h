// What every loss does first and last with its per-target numbers: select what is unmasked (never multiply: 0
// * NaN is NaN), refuse what is not finite, sum in double. Called by the objectives. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "engine/core/status.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// x where mask is set, 0 elsewhere; no gradient and no NaN passes through a masked position.
at::Tensor keep(const at::Tensor& x_N, const at::Tensor& mask_N);

// kDataLoss if an unmasked entry of `x_N` (called `what` in the message) is infinite or NaN: names the row of
// the data set and the token of the completion. kInternal if the tensor is missing.
Status check_finite(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N,
                    std::string_view what);

// Which of the slice's targets belong to rehearsal rows, bool [N].
at::Tensor rehearsal_targets(const LossInput& input);

// The sum of x over the rows' unmasked targets, [rows] in double. Differentiable.
at::Tensor row_sums(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N);

// The same, divided by the number of the row's unmasked targets; 0 for a row without one.
at::Tensor row_means(const LossInput& input, const at::Tensor& x_N, const at::Tensor& mask_N);

// Sum over the unmasked targets, for metrics.
double masked_sum(const at::Tensor& x_N, const at::Tensor& mask_N);

}  // namespace fulcrum
