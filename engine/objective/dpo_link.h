// f-DPO's link: the implicit reward of a sequence log-ratio a is beta s(a), s(a) = f'(e^a) - f'(1). Called by
// dpo.cpp. Immutable, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"

namespace fulcrum {

// What becomes of the link where s' passes e^cap.
enum class ExponentGuard {
  kLinear,  // its tangent: a pair far below the reference keeps pulling with a finite gradient
  kClamp    // its value there: such a pair has no gradient (TRL's clamped exponent)
};

class DpoLink {
 public:
  // kInvalidArgument for a generator that check_dpo_link() refuses. No `exponent_cap`: no guard.
  static Result<DpoLink> create(std::shared_ptr<const Divergence> divergence,
                                std::optional<double> exponent_cap,
                                ExponentGuard guard = ExponentGuard::kLinear);

  // s(a), differentiable, elementwise.
  at::Tensor score(const at::Tensor& a) const;
  // s(a) - s(b), differentiable, elementwise in double: without cancellation between the edges.
  at::Tensor difference(const at::Tensor& a, const at::Tensor& b) const;
  // Which entries lie beyond the cap, bool.
  at::Tensor guarded(const at::Tensor& a) const;

 private:
  DpoLink() = default;
  // The tangents' part: what is added beyond the edges.
  at::Tensor beyond(const at::Tensor& a) const;
  std::shared_ptr<const Divergence> divergence_;
  double low_ = -generators::kInfinity, high_ = generators::kInfinity;  // the link is exact between them
  double low_slope_ = 0, high_slope_ = 0;                               // beyond
};

}  // namespace fulcrum
