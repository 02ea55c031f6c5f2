// f-DPO's link: the implicit reward of a sequence log-ratio a is beta s(a), s(a) = f'(e^a) - f'(1). Called by
// dpo.cpp. Immutable, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"

namespace fulcrum {

class DpoLink {
 public:
  // kInvalidArgument for a generator that check_dpo_link() refuses. `exponent_cap`: where s' passes e^cap the
  // link goes on along its tangent, so that a pair far below the reference keeps pulling with a finite
  // gradient.
  static Result<DpoLink> create(std::shared_ptr<const Divergence> divergence,
                                std::optional<double> exponent_cap);

  // s(a), differentiable, elementwise.
  at::Tensor score(const at::Tensor& a) const;
  // Which entries lie on a tangent, bool.
  at::Tensor guarded(const at::Tensor& a) const;

 private:
  DpoLink() = default;
  std::shared_ptr<const Divergence> divergence_;
  double low_ = -generators::kInfinity, high_ = generators::kInfinity;  // the link is exact between them
  double low_slope_ = 0, high_slope_ = 0;
};

}  // namespace fulcrum
