#include "engine/reference/task_vectors.h"

#include <cmath>
#include <utility>

namespace fulcrum {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Adds one tensor's dot products of the task vectors.
Status add_products(std::span<const Ingredient> models, const Ingredient& base, const std::string& name,
                    Matrix& products) {
  TRY(start, to_double(base.model.tensors.at(name)));
  std::vector<std::vector<double>> deltas;
  for (const Ingredient& model : models) {
    TRY(theta, to_double(model.model.tensors.at(name)));
    for (size_t k = 0; k < theta.size(); ++k) theta[k] -= start[k];
    deltas.push_back(std::move(theta));
  }
  for (size_t i = 0; i < deltas.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      for (size_t k = 0; k < start.size(); ++k) products[i][j] += deltas[i][k] * deltas[j][k];
    }
  }
  return ok_status();
}

}  // namespace

Result<std::vector<std::vector<double>>> task_cosines(std::span<const Ingredient> models,
                                                      const Ingredient& base) {
  const size_t n = models.size();
  Matrix products(n, std::vector<double>(n, 0.0)), out = products;
  for (const auto& [name, tensor] : base.model.tensors) {
    if (is_floating(tensor.dtype)) TRY_DO(add_products(models, base, name, products));
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const double lengths = std::sqrt(products[i][i]) * std::sqrt(products[j][j]);
      out[i][j] = out[j][i] = lengths > 0 ? products[i][j] / lengths : 0;
    }
  }
  return out;
}

}  // namespace fulcrum
