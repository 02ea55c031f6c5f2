#include "engine/objective/value_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/square.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace fulcrum {

TokenValueLoss value_loss(const at::Tensor& values_N, const at::Tensor& old_values_N,
                          const at::Tensor& returns_N, std::optional<double> clip) {
  const at::Tensor error_N = at::square(values_N - returns_N);
  if (!clip) return {0.5 * error_N, at::zeros_like(error_N.detach(), at::kBool)};
  const at::Tensor bounded_N = at::clamp(values_N.detach(), old_values_N - *clip, old_values_N + *clip);
  const at::Tensor bounded_error_N = at::square(bounded_N - returns_N);
  const at::Tensor clipped_N = bounded_error_N > error_N.detach();
  return {0.5 * at::where(clipped_N, bounded_error_N, error_N), clipped_N};
}

}  // namespace fulcrum
