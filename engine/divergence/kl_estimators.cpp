#include "engine/divergence/kl_estimators.h"

#include <ATen/TensorOperators.h>

#include "engine/core/text.h"

namespace fulcrum {

Result<KlEstimator> parse_kl_estimator(std::string_view name) {
  if (name == "k1") return KlEstimator::kK1;
  if (name == "k2") return KlEstimator::kK2;
  if (name == "k3") return KlEstimator::kK3;
  return invalid_argument("kl_estimator must be k1, k2 or k3, not " + in_quotes(name));
}

Result<KlEstimate> KlEstimate::create(KlEstimator kind) {
  TRY(forward_kl, make_divergence("forward_kl"));
  return KlEstimate(kind, std::move(forward_kl));
}

at::Tensor KlEstimate::operator()(const at::Tensor& k) const {
  switch (kind_) {
    case KlEstimator::kK1:
      return forward_kl_->value(-k);
    case KlEstimator::kK2:
      return k * k * 0.5;
    case KlEstimator::kK3:
      return forward_kl_->centred(-k);
  }
  return {};
}

}  // namespace fulcrum
