#include "engine/objective/max_entropy.h"

#include <algorithm>
#include <cmath>

#include "engine/core/text.h"
#include "engine/objective/f_dpg_partition.h"

namespace fulcrum {
namespace {

// Newton goes on to the last digits; gradient steps stop where disco does.
constexpr double kExact = 1e-10, kClose = 1e-5;
constexpr double kFlat = 1e-7;
// Where lambda . phi passes it the samples carry no weight any more: the moments run away to a corner.
constexpr double kLargestLambda = 500;

double largest(const std::vector<double>& x) {
  double out = 0;
  for (const double each : x) out = std::max(out, std::abs(each));
  return out;
}

// The gradient of the dual lambda . target - log Z(lambda).
std::vector<double> shortfall(const MomentProblem& problem, const Tilted& at) {
  std::vector<double> out;
  for (size_t k = 0; k < problem.targets_K.size(); ++k) out.push_back(problem.targets_K[k] - at.moments_K[k]);
  return out;
}

// What the dual is to be minimised: convex, its gradient is minus the shortfall.
double negative_dual(const MomentProblem& problem, const Tilted& at, const std::vector<double>& lambda) {
  double out = at.log_z;
  for (size_t k = 0; k < lambda.size(); ++k) out -= lambda[k] * problem.targets_K[k];
  return out;
}

// Solves (covariance of the features + ridge) x = b by elimination; the matrix is positive definite. The
// ridge only matters where features are copies of each other.
std::vector<double> newton_direction(const MomentProblem& problem, const Tilted& at, std::vector<double> b) {
  const size_t n = b.size();
  std::vector<std::vector<double>> h(n, std::vector<double>(n, 0.0));
  double trace = 0;
  for (size_t s = 0; s < at.probabilities_N.size(); ++s) {
    const std::vector<double>& phi = problem.features_NK[s];
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j)
        h[i][j] += at.probabilities_N[s] * (phi[i] - at.moments_K[i]) * (phi[j] - at.moments_K[j]);
    }
  }
  for (size_t i = 0; i < n; ++i) trace += h[i][i];
  for (size_t i = 0; i < n; ++i) h[i][i] += 1e-13 * trace + 1e-300;
  for (size_t i = 0; i < n; ++i) {
    for (size_t row = i + 1; row < n; ++row) {
      const double factor = h[row][i] / h[i][i];
      for (size_t column = i; column < n; ++column) h[row][column] -= factor * h[i][column];
      b[row] -= factor * b[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t j = i + 1; j < n; ++j) b[i] -= h[i][j] * b[j];
    b[i] /= h[i][i];
  }
  return b;
}

std::vector<double> moved(std::vector<double> from, const std::vector<double>& direction, double step) {
  for (size_t k = 0; k < from.size(); ++k) from[k] += step * direction[k];
  return from;
}

// One Newton step, halved until it helps; false: it does not any more. Near the optimum, where the dual is
// flat to its last digits, only the shortfall tells.
bool newton_step(const MomentProblem& problem, std::vector<double>& lambda, Tilted& at) {
  const std::vector<double> gap = shortfall(problem, at);
  const std::vector<double> direction = newton_direction(problem, at, gap);
  double slope = 0;
  for (size_t k = 0; k < gap.size(); ++k) slope -= gap[k] * direction[k];
  const double now = negative_dual(problem, at, lambda);
  for (double step = 1; step > 1e-9; step /= 2) {
    std::vector<double> next = moved(lambda, direction, step);
    Tilted there = tilt(problem, next);
    const bool lower =
        largest(gap) > kFlat && negative_dual(problem, there, next) < now + 1e-4 * step * slope;
    if (!lower && !(largest(shortfall(problem, there)) < largest(gap) / 2)) continue;
    lambda = std::move(next);
    at = std::move(there);
    return true;
  }
  return false;
}

Status check_shape(const MomentProblem& problem) {
  const size_t k = problem.targets_K.size();
  bool fine = problem.names_K.size() == k && problem.features_NK.size() == problem.log_weights_N.size();
  for (const auto& phi : problem.features_NK) fine = fine && phi.size() == k;
  if (!fine) return internal_error("a moment problem whose lists do not belong together");
  const bool none = std::all_of(problem.log_weights_N.begin(), problem.log_weights_N.end(),
                                [](double w) { return w == -generators::kInfinity; });
  if (none) {
    return failed_precondition(
        "no sample satisfies the point-wise constraints, so there is nothing to fit the moments on; draw "
        "more "
        "samples or loosen the constraints");
  }
  return ok_status();
}

// What a single feature cannot do, whatever lambda is.
Status check_feature(const MomentProblem& problem, size_t k) {
  double low = generators::kInfinity, high = -generators::kInfinity;
  for (size_t i = 0; i < problem.features_NK.size(); ++i) {
    if (problem.log_weights_N[i] == -generators::kInfinity) continue;
    low = std::min(low, problem.features_NK[i][k]);
    high = std::max(high, problem.features_NK[i][k]);
  }
  const double target = problem.targets_K[k];
  const std::string name = "feature " + in_quotes(problem.names_K[k]);
  if (low == 0 && high == 0) {
    return failed_precondition(
        name + " never occurs in " + std::to_string(problem.features_NK.size()) +
        " samples of the initial policy, so its moment cannot be fitted; draw more samples or "
        "train the policy towards it first");
  }
  if (low == high) {
    return failed_precondition(name + " is " + std::to_string(low) +
                               " in every sample, so no weighting of them changes its moment");
  }
  if (target <= low || target >= high) {
    const std::string range = std::to_string(low) + " to " + std::to_string(high);
    if ((target == 0 && low == 0) || (target == 1 && high == 1)) {
      return invalid_argument("a moment of exactly " + std::to_string(static_cast<int>(target)) + " of " +
                              name + " needs an infinite lambda; make it a point-wise constraint");
    }
    return failed_precondition("a moment of " + std::to_string(target) + " of " + name +
                               " cannot be met: the samples of the initial policy show " + range);
  }
  return ok_status();
}

Status not_met(const MomentProblem& problem, const Tilted& at, const FitOptions& options) {
  const std::vector<double> gap = shortfall(problem, at);
  size_t worst = 0;
  for (size_t k = 0; k < gap.size(); ++k) {
    if (std::abs(gap[k]) > std::abs(gap[worst])) worst = k;
  }
  return failed_precondition(
      "the moments cannot be met together: feature " + in_quotes(problem.names_K[worst]) + " stays at " +
      std::to_string(at.moments_K[worst]) + " for a target of " + std::to_string(problem.targets_K[worst]) +
      (options.learning_rate ? " (or the fit's learning rate does not fit)" : ""));
}

}  // namespace

Tilted tilt(const MomentProblem& problem, const std::vector<double>& lambda_K) {
  std::vector<double> log_w = problem.log_weights_N;
  for (size_t i = 0; i < log_w.size(); ++i) {
    for (size_t k = 0; k < lambda_K.size(); ++k) log_w[i] += lambda_K[k] * problem.features_NK[i][k];
  }
  const double log_sum = log_sum_exp(log_w);
  Tilted out{.moments_K = std::vector<double>(lambda_K.size(), 0.0),
             .probabilities_N = {},
             .log_z = log_sum - std::log(static_cast<double>(log_w.size()))};
  for (size_t i = 0; i < log_w.size(); ++i) {
    const double p = std::exp(log_w[i] - log_sum);
    out.probabilities_N.push_back(p);
    for (size_t k = 0; k < lambda_K.size(); ++k) out.moments_K[k] += p * problem.features_NK[i][k];
  }
  return out;
}

std::vector<double> ascend(const MomentProblem& problem, const std::vector<double>& lambda_K, double rate) {
  return moved(lambda_K, shortfall(problem, tilt(problem, lambda_K)), rate);
}

Result<MomentFit> fit_moments(const MomentProblem& problem, const FitOptions& options) {
  TRY_DO(check_shape(problem));
  for (size_t k = 0; k < problem.targets_K.size(); ++k) TRY_DO(check_feature(problem, k));
  MomentFit out;
  out.lambda_K.assign(problem.targets_K.size(), 0.0);
  Tilted at = tilt(problem, out.lambda_K);
  out.moments_before_K = at.moments_K;
  const double close = options.learning_rate ? kClose : kExact;
  for (; out.iterations < options.max_iterations; ++out.iterations) {
    if (options.learning_rate) {
      if (largest(shortfall(problem, at)) < close) break;
      out.lambda_K = ascend(problem, out.lambda_K, *options.learning_rate);
      at = tilt(problem, out.lambda_K);
    } else if (!newton_step(problem, out.lambda_K, at)) {
      break;  // at the optimum nothing gets better
    }
    if (!(largest(out.lambda_K) < kLargestLambda)) break;
  }
  if (!(largest(shortfall(problem, at)) < close)) return not_met(problem, at, options);
  out.moments_after_K = at.moments_K;
  out.log_z = at.log_z;
  double squares = 0;
  for (const double p : at.probabilities_N) squares += p * p;
  out.ess = 1 / squares;
  return out;
}

}  // namespace fulcrum
