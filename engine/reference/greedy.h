// Which models to put into a soup, by what the soup scores on held-out data (Wortsman et al., arXiv
// 2203.05482, recipe 1), and the gradient by which weights are learnt (the same, appendix I). Called by
// `fulcrum soup`. Pure but for the score it is given.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// One number a held-out item (a prompt's mean reward, a text's mean log-prob), the same items in the same
// order each time. More is better.
using Scores = std::vector<double>;

struct GreedyRule {
  // A candidate must be better by this many standard errors of the mean paired difference: scores are noisy,
  // and a bare comparison accepts by luck. 0: any improvement counts.
  double margin = 1;
  bool accept_equal = false;  // with margin 0: a candidate that scores the same comes in too
};

struct GreedyPath {
  std::vector<size_t> order;        // the models by their own score, best first; of equal ones the earlier
  std::vector<size_t> ingredients;  // those that came in, in that order
  std::vector<double> alone;        // each model's own mean score, by model
  std::vector<double> best_after_each;  // the soup's mean score after each model of `order`
};

// `score` is asked for soups by their weights, one a model: 1/n on each ingredient. First every model alone,
// then each candidate. kInvalidArgument for no models, scores of different lengths or not finite, or a margin
// with fewer than two items.
Result<GreedyPath> greedy_soup(size_t models, const GreedyRule& rule,
                               const std::function<Result<Scores>(std::span<const double> weights)>& score);

// 1/n on each ingredient, 0 elsewhere.
std::vector<double> uniform_over(std::span<const size_t> ingredients, size_t models);

}  // namespace fulcrum
