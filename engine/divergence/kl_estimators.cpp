#include "engine/divergence/kl_estimators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/zeros_like.h>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

// log(pi / m) with m = (pi + reference)/2.
at::Tensor log_ratio_to_mixture(const at::Tensor& k) {
  return generators::kLog2 - at::logaddexp(at::zeros_like(k), -k);
}

at::Tensor bounded(const at::Tensor& x, const std::optional<double>& bound) {
  return bound ? at::clamp(x, -*bound, *bound) : x;
}

}  // namespace

Result<KlEstimator> parse_kl_estimator(std::string_view name) {
  if (name == "k1") return KlEstimator::kK1;
  if (name == "k2") return KlEstimator::kK2;
  if (name == "k3") return KlEstimator::kK3;
  if (name == "abs") return KlEstimator::kAbs;
  if (name == "mixture") return KlEstimator::kMixture;
  return invalid_argument("kl_estimator must be k1, k2, k3, abs or mixture, not " + in_quotes(name));
}

Result<KlEstimate> KlEstimate::create(KlEstimator kind, KlClamp clamp) {
  TRY(forward_kl, make_divergence("forward_kl"));
  return KlEstimate(kind, clamp, std::move(forward_kl));
}

at::Tensor KlEstimate::unbounded(const at::Tensor& k) const {
  switch (kind_) {
    case KlEstimator::kK1:
      return forward_kl_->value(-k);
    case KlEstimator::kK2:
      return k * k * 0.5;
    case KlEstimator::kK3:
    case KlEstimator::kMixture:
      return forward_kl_->centred(-k);
    case KlEstimator::kAbs:
      return k.abs();
  }
  return {};
}

at::Tensor KlEstimate::operator()(const at::Tensor& k) const {
  const at::Tensor log_ratio = kind_ == KlEstimator::kMixture ? log_ratio_to_mixture(k) : k;
  return bounded(unbounded(bounded(log_ratio, clamp_.input)), clamp_.output);
}

}  // namespace fulcrum
