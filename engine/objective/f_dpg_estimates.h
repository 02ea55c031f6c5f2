// How far the policy is from the target, estimated from samples of the proposal. Called by f-DPG's objective
// for its metrics. Pure.
#pragma once

#include <span>

#include "engine/objective/f_dpg_gradient.h"

namespace fulcrum {

// Plain importance sampling with a given Z (f-DPG, arXiv 2302.08215, section 4.1): unbiased, hence free to
// leave the range of what it estimates when samples are few. Not clamped.
struct DivergenceEstimates {
  double forward_kl = 0;       // KL(p || pi)
  double reverse_kl = 0;       // KL(pi || p); inf if a sample lies outside the target
  double total_variation = 0;  // in [0, 1]
  double jensen_shannon = 0;   // in [0, log 2]
};

DivergenceEstimates estimate_divergences(std::span<const SampleScores> samples, double log_z);

}  // namespace fulcrum
