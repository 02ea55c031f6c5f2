// Weights of a soup learnt on held-out texts (Wortsman et al., arXiv 2203.05482, appendix I): full-batch
// AdamW on one raw number a model, through the gradient of the texts' loss. Called by `fulcrum soup`. One
// thread.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/reference/soup.h"

namespace fulcrum::cli {

struct LearnedSoup {
  std::vector<double> weights;  // of the step with the smallest loss
  double first_nll = 0;         // of the average, nats per token
  double best_nll = 0;
};

struct LearningOptions {
  int64_t steps = 20;           // each reads all models and all texts once
  double learning_rate = 0.05;  // the released code's
};

// Memory beside the mapped files: the soup, its parameters and their gradients.
Result<LearnedSoup> learn_weights(std::span<const Ingredient> models, SoupPlan plan, const Dataset& texts,
                                  const LearningOptions& options,
                                  const std::function<void(int64_t)>& progress, std::stop_token stop);

}  // namespace fulcrum::cli
