// The partition function of a target that is only known up to it, from weighted samples, and how many samples
// the weights are worth. Called by f-DPG's objective and by the fit of its target. Pure, torch-free.
#pragma once

#include <span>

#include "engine/divergence/generators/math.h"

namespace fulcrum {

// log sum exp(x), -inf for no terms or nothing but zeros.
double log_sum_exp(std::span<const double> x);

// What the weights w = P/q of one context add up to, so far. Z = mean(w) is unbiased for any proposal q, also
// one that changes between steps (f-DPG, arXiv 2302.08215, algorithm 1). Kept as logarithms: w itself leaves
// every range.
struct PartitionSum {
  double log_sum = -generators::kInfinity;
  double log_sum_squares = -generators::kInfinity;
  double count = 0;

  void add(std::span<const double> log_weights);
  // log mean(w); -inf as long as every weight was 0.
  double log_z() const;
  // log of the effective sample size (sum w)^2 / sum w^2; -inf as above.
  double log_ess() const;
};

}  // namespace fulcrum
