#include "engine/reference/learned_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fulcrum {

std::vector<double> softmax_weights(std::span<const double> raw) {
  std::vector<double> out;
  if (raw.empty()) return out;
  const double largest = *std::max_element(raw.begin(), raw.end());
  for (const double r : raw) out.push_back(std::exp(r - largest));
  const double sum = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& w : out) w /= sum;
  return out;
}

std::vector<double> raw_weight_gradient(std::span<const double> weights, std::span<const double> products) {
  const double mean = std::inner_product(weights.begin(), weights.end(), products.begin(), 0.0);
  std::vector<double> out;
  for (size_t i = 0; i < weights.size(); ++i) out.push_back(weights[i] * (products[i] - mean));
  return out;
}

}  // namespace fulcrum
