// Per-token estimators of a divergence between policy and reference on samples of the policy (Schulman,
// "Approximating KL divergence", 2020; gradients as losses: methods note of GRPO). With k = log pi - log
// reference and the table's forward KL at the ratio reference/pi, i.e. at -k: k1 = f(-k) = k and k3 = its
// centred form e^-k - 1 + k. k2 = k^2/2 and |k| are no generators and stand beside them. `mixture` is k3 with
// the equal mixture m = (pi + reference)/2 in the reference's place: it estimates KL(pi || m), and at -k, on
// samples of the reference, KL(reference || m); DPH-RL's released code builds its "js" of the two. Called by
// the objectives. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"

namespace fulcrum {

enum class KlEstimator { kK1, kK2, kK3, kAbs, kMixture };

// "k1", "k2", "k3", "abs" or "mixture".
Result<KlEstimator> parse_kl_estimator(std::string_view name);

// Bounds on either side of what goes in (the log-ratio) and of what comes out; outside, the gradient is 0.
// verl and NeMo RL bound k3 by 20 and 10, OpenRLHF every estimator by 10, TRL nothing.
struct KlClamp {
  std::optional<double> input = std::nullopt, output = std::nullopt;
};

// Differentiable in the log-ratio k.
class KlEstimate {
 public:
  static Result<KlEstimate> create(KlEstimator kind, KlClamp clamp = {});
  at::Tensor operator()(const at::Tensor& k) const;

 private:
  KlEstimate(KlEstimator kind, KlClamp clamp, std::shared_ptr<const Divergence> d)
      : kind_(kind), clamp_(clamp), forward_kl_(std::move(d)) {}
  at::Tensor unbounded(const at::Tensor& k) const;

  KlEstimator kind_;
  KlClamp clamp_;
  std::shared_ptr<const Divergence> forward_kl_;
};

}  // namespace fulcrum
