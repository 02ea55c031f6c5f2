#include "engine/objective/dpo_link.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "engine/objective/config/check_objective.h"

namespace fulcrum {
namespace {

// The log-ratio on the side of `sign` at which s' reaches `limit`; that side's infinity if it never does.
double edge_of(const Divergence& d, double sign, double limit) {
  double near = 0, far = 1e6;
  if (!(d.at_log_ratio(Quantity::kCurvature, sign * far) > limit)) return sign * generators::kInfinity;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (near + far);
    (d.at_log_ratio(Quantity::kCurvature, sign * middle) > limit ? far : near) = middle;
  }
  return sign * near;
}

}  // namespace

Result<DpoLink> DpoLink::create(std::shared_ptr<const Divergence> divergence,
                                std::optional<double> exponent_cap, ExponentGuard guard) {
  TRY_DO(check_dpo_link(divergence->name(), divergence->facts()));
  DpoLink link;
  link.divergence_ = std::move(divergence);
  if (exponent_cap) {
    const Divergence& d = *link.divergence_;
    link.low_ = edge_of(d, -1, std::exp(*exponent_cap));
    link.high_ = edge_of(d, 1, std::exp(*exponent_cap));
    if (guard == ExponentGuard::kClamp) return link;
    if (std::isfinite(link.low_)) link.low_slope_ = d.at_log_ratio(Quantity::kCurvature, link.low_);
    if (std::isfinite(link.high_)) link.high_slope_ = d.at_log_ratio(Quantity::kCurvature, link.high_);
  }
  return link;
}

at::Tensor DpoLink::beyond(const at::Tensor& a) const {
  const at::Tensor zero = at::zeros_like(a);
  return low_slope_ * at::where(a < low_, a - low_, zero) +
         high_slope_ * at::where(a > high_, a - high_, zero);
}

at::Tensor DpoLink::score(const at::Tensor& a) const {
  return divergence_->score(at::clamp(a, low_, high_)) + beyond(a);
}

at::Tensor DpoLink::difference(const at::Tensor& a, const at::Tensor& b) const {
  return divergence_->score_difference(at::clamp(a, low_, high_), at::clamp(b, low_, high_)) +
         (beyond(a) - beyond(b));
}

at::Tensor DpoLink::guarded(const at::Tensor& a) const { return (a < low_) | (a > high_); }

}  // namespace fulcrum
