// Per-token estimators of KL(pi || reference) on samples of pi (Schulman, "Approximating KL divergence",
// 2020; gradients as losses: methods note of GRPO). With k = log pi - log reference and the table's forward
// KL at the ratio reference/pi, i.e. at -k: k1 = f(-k) = k and k3 = its centred form e^-k - 1 + k. k2 = k^2/2
// is no generator and stands beside them. Called by the policy-gradient objectives. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"

namespace fulcrum {

enum class KlEstimator { kK1, kK2, kK3 };

// "k1", "k2" or "k3".
Result<KlEstimator> parse_kl_estimator(std::string_view name);

// Differentiable in the log-ratio k.
class KlEstimate {
 public:
  static Result<KlEstimate> create(KlEstimator kind);
  at::Tensor operator()(const at::Tensor& k) const;

 private:
  KlEstimate(KlEstimator kind, std::shared_ptr<const Divergence> d)
      : kind_(kind), forward_kl_(std::move(d)) {}
  KlEstimator kind_;
  std::shared_ptr<const Divergence> forward_kl_;
};

}  // namespace fulcrum
