// DPH-RL's divergence at a token of a stored sample of the initial policy (arXiv 2509.07430), as a function
// of the log-ratio d = log pi - log pi_0. Called by dph_rl.cpp. Immutable, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string_view>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"
#include "engine/divergence/kl_estimators.h"

namespace fulcrum {

// Which form of f stands for D_f; all estimate a divergence on samples of pi_0.
enum class RehearsalForm {
  kCentred,  // f(u) - f'(1)(u - 1): never negative, the extra term a control variate
  kRaw,      // f(u): forward KL is then the plain negative log-likelihood
  kClamped,  // the released code's forward KL: bounded by 20 and 10, so that lost tokens have no pull
  kMixture   // the released code's "js": KL(pi_0 || (pi + pi_0)/2), with the same bounds
};

// "centred", "raw", "clamped" or "mixture".
Result<RehearsalForm> parse_rehearsal_form(std::string_view name);

// The released code's bounds on the log-ratio and on the value (verl's low_var_kl).
inline constexpr KlClamp kReleasedClamp{.input = 20, .output = 10};

class RehearsalTerm {
 public:
  // kClamped is a form of forward_kl, kMixture of js_divergence (check_objective.h refuses others).
  static Result<RehearsalTerm> create(RehearsalForm form, std::shared_ptr<const Divergence> divergence,
                                      double delta_max);

  // Differentiable; above delta_max its tangent there.
  at::Tensor operator()(const at::Tensor& d_N) const;
  const Divergence& divergence() const { return *divergence_; }

 private:
  RehearsalTerm(RehearsalForm form, std::shared_ptr<const Divergence> divergence, KlEstimate estimate,
                double delta_max)
      : form_(form),
        divergence_(std::move(divergence)),
        estimate_(std::move(estimate)),
        delta_max_(delta_max) {}

  RehearsalForm form_;
  std::shared_ptr<const Divergence> divergence_;
  KlEstimate estimate_;  // of the two released forms
  double delta_max_;
};

// f(d) up to `delta_max`, above it the line through f(delta_max) with f's slope there: value and slope are
// continuous, and the gradient of a boosted token stays bounded and never vanishes.
at::Tensor linear_beyond(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& d,
                         double delta_max);

}  // namespace fulcrum
