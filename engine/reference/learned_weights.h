// Weights of a soup that are learnt on held-out data (Wortsman et al., arXiv 2203.05482, appendix I): a
// softmax over one raw number a model, and the gradient of any loss of the soup with respect to them. Pure,
// thread-safe.
#pragma once

#include <span>
#include <vector>

namespace fulcrum {

// w = softmax(raw).
std::vector<double> softmax_weights(std::span<const double> raw);

// dL/draw_i = w_i (g_i - sum_j w_j g_j), with g_i = <dL/dtheta, theta_i> at the soup theta = sum_i w_i
// theta_i.
std::vector<double> raw_weight_gradient(std::span<const double> weights, std::span<const double> products);

}  // namespace fulcrum
