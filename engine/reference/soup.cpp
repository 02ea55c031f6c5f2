// Weighted averages of models (SALSA, arXiv 2411.01798; model soups, arXiv 2203.05482): one named tensor at a
// time, in double, the models in the order given, rounded once to fp32.
#include <cmath>
#include <cstring>

#include "engine/core/text.h"
#include "engine/reference/compare_models.h"
#include "engine/reference/reference.h"

namespace fulcrum {
namespace {

Result<std::vector<double>> normalized(std::span<const double> weights) {
  double sum = 0;
  for (double w : weights) sum += w;
  if (!std::isfinite(sum) || sum == 0)
    return invalid_argument("the weights of a soup must be finite and not add up to 0");
  std::vector<double> out;
  for (double w : weights) out.push_back(w / sum);
  return out;
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.bytes.size() == b.bytes.size() && std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

Result<TensorView> mix_tensor(const std::string& name, std::span<const Model> models,
                              std::span<const double> weights) {
  const TensorView& first = models[0].tensors.at(name);
  std::vector<double> sum(static_cast<size_t>(first.numel()), 0.0);
  for (size_t m = 0; m < models.size(); ++m) {
    const TensorView& tensor = models[m].tensors.at(name);
    const auto values = to_float(tensor);
    if (!values.ok()) {  // integers are not averaged: they must be equal
      if (same_bytes(first, tensor)) continue;
      return invalid_argument("tensor " + in_quotes(name) +
                              " holds integers that differ: it cannot be averaged");
    }
    for (size_t i = 0; i < sum.size(); ++i) {
      if (!std::isfinite((*values)[i])) {
        return invalid_argument("tensor " + in_quotes(name) + " of model " + std::to_string(m + 1) +
                                " of the soup has an infinite or NaN value");
      }
      sum[i] += weights[m] * double((*values)[i]);
    }
  }
  if (!to_float(first).ok()) return first;
  const std::vector<float> rounded(sum.begin(), sum.end());
  return make_tensor(first.shape, rounded);
}

}  // namespace

Result<Model> make_soup(std::span<const Model> models, std::span<const double> weights) {
  if (models.empty()) return invalid_argument("a soup needs at least one model");
  if (models.size() != weights.size()) {
    return invalid_argument("a soup of " + std::to_string(models.size()) + " models was given " +
                            std::to_string(weights.size()) + " weights");
  }
  TRY(shares, normalized(weights));
  for (size_t m = 1; m < models.size(); ++m) {
    TRY_DO(
        check_same_kind(models[0], "model 1", models[m], "model " + std::to_string(m + 1) + " of the soup"));
  }
  if (models.size() == 1) return models[0];
  Model soup{.spec = models[0].spec, .tensors = {}, .folder = models[0].folder};
  soup.spec.dtype = DType::kF32;
  for (const auto& [name, tensor] : models[0].tensors) {
    TRY(mixed, mix_tensor(name, models, shares));
    soup.tensors.emplace(name, std::move(mixed));
  }
  return soup;
}

}  // namespace fulcrum
