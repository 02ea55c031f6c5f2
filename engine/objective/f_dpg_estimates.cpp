#include "engine/objective/f_dpg_estimates.h"

#include <array>
#include <cmath>

#include "engine/objective/f_dpg_partition.h"

namespace fulcrum {

DivergenceEstimates estimate_divergences(std::span<const SampleScores> samples, double log_z) {
  DivergenceEstimates sum;
  for (const SampleScores& s : samples) {
    const double log_p = s.log_target - log_z, log_pi = s.log_policy;
    const double p = std::exp(log_p - s.log_proposal), pi = std::exp(log_pi - s.log_proposal);
    const double log_mixture = log_sum_exp(std::array{log_p, log_pi}) - generators::kLog2;
    // 0 log 0 = 0.
    const bool inside = log_p > -generators::kInfinity;
    sum.forward_kl += inside ? p * (log_p - log_pi) : 0;
    sum.reverse_kl += inside ? pi * (log_pi - log_p) : generators::kInfinity;
    sum.total_variation += std::abs(pi - p) / 2;
    sum.jensen_shannon += ((inside ? p * (log_p - log_mixture) : 0) + pi * (log_pi - log_mixture)) / 2;
  }
  const auto n = static_cast<double>(samples.size());
  return {sum.forward_kl / n, sum.reverse_kl / n, sum.total_variation / n, sum.jensen_shannon / n};
}

}  // namespace fulcrum
