#include "engine/objective/rehearsal_term.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "engine/core/text.h"
#include "engine/objective/masked.h"

namespace fulcrum {

Result<RehearsalForm> parse_rehearsal_form(std::string_view name) {
  if (name == "centred") return RehearsalForm::kCentred;
  if (name == "raw") return RehearsalForm::kRaw;
  if (name == "clamped") return RehearsalForm::kClamped;
  if (name == "mixture") return RehearsalForm::kMixture;
  return invalid_argument("dph_form must be centred, raw, clamped or mixture, not " + in_quotes(name));
}

Result<RehearsalTerm> RehearsalTerm::create(RehearsalForm form, std::shared_ptr<const Divergence> divergence,
                                            double delta_max) {
  const KlEstimator kind = form == RehearsalForm::kMixture ? KlEstimator::kMixture : KlEstimator::kK3;
  TRY(estimate, KlEstimate::create(kind, kReleasedClamp));
  return RehearsalTerm(form, std::move(divergence), std::move(estimate), delta_max);
}

at::Tensor RehearsalTerm::operator()(const at::Tensor& d_N) const {
  switch (form_) {
    case RehearsalForm::kCentred:
      return divergence_->centred_with_tail(d_N, delta_max_);
    case RehearsalForm::kRaw:
      return linear_beyond([&](const at::Tensor& d) { return divergence_->value(d); }, d_N, delta_max_);
    case RehearsalForm::kClamped:
    case RehearsalForm::kMixture:
      // Samples of the initial policy: the estimators' k, from the sampler to the other, is -d.
      return linear_beyond([&](const at::Tensor& d) { return estimate_(-d); }, d_N, delta_max_);
  }
  return {};
}

at::Tensor linear_beyond(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& d,
                         double delta_max) {
  if (!std::isfinite(delta_max)) return f(d);
  at::Tensor slope;
  {
    const at::AutoGradMode with_gradient(true);
    const at::Tensor edge = at::scalar_tensor(delta_max, at::kDouble).requires_grad_(true);
    slope = torch::autograd::grad({f(edge)}, {edge})[0];
  }
  const at::Tensor line = (d - delta_max) * slope.item<double>();
  return f(at::clamp_max(d, delta_max)) + keep(line, d > delta_max);
}

}  // namespace fulcrum
