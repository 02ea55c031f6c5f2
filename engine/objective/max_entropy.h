// The exponential tilt of a distribution that gives features wanted means: the lambda of f-DPG's
// distributional constraints. Among all distributions with these moments, p(x) = a(x) exp(lambda . phi(x)) /
// Z is the one nearest to a in KL(p || a) (GDC, arXiv 2012.11635, section 2). Called by the pipeline before
// training. Pure, torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// N samples of q, K features.
struct MomentProblem {
  std::vector<std::string> names_K;  // for messages
  std::vector<double> targets_K;
  std::vector<std::vector<double>> features_NK;
  std::vector<double> log_weights_N;  // log a - log q; -inf: not part of the distribution
};

// Self-normalised importance sampling at lambda: w_i = exp(log_weights_i + lambda . phi_i).
struct Tilted {
  std::vector<double> moments_K;        // sum w phi / sum w
  std::vector<double> probabilities_N;  // w / sum w
  double log_z = 0;                     // log mean(w)
};
Tilted tilt(const MomentProblem& problem, const std::vector<double>& lambda_K);

// lambda + rate (target - moments): one step of gradient ascent on the dual.
std::vector<double> ascend(const MomentProblem& problem, const std::vector<double>& lambda_K, double rate);

struct FitOptions {
  std::optional<double> learning_rate;  // absent: damped Newton; else gradient steps of this size
  int64_t max_iterations = 1000;
};

struct MomentFit {
  std::vector<double> lambda_K;
  std::vector<double> moments_before_K, moments_after_K;
  double log_z = 0;
  double ess = 0;  // samples the tilted weights are worth
  int64_t iterations = 0;
};

// kInvalidArgument for a target of exactly 0 or 1 of a binary feature (lambda would be infinite: a point-wise
// constraint says it). kFailedPrecondition for a feature that no sample shows or all share, a target beyond
// what the samples show, moments that cannot be met together, or gradient steps that do not arrive; each
// names the feature.
Result<MomentFit> fit_moments(const MomentProblem& problem, const FitOptions& options = {});

}  // namespace fulcrum
