// The expected calibration error of the implicit reward model: how far the confidence with which it orders a
// pair, sigma(|margin|), is from the share of pairs it orders rightly (f-DPO, arXiv 2309.16240,
// with the rewards' own confidence in place of the likelihood of the chosen text). An error of bins is no
// mean, so slices add the bins' sums and Objective::conclude() makes the error of them. Pure, thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core/metrics.h"

namespace fulcrum {

inline constexpr int64_t kCalibrationBins = 10;

// Adds sum (confidence - correct) of each equal-width bin [k/bins, (k+1)/bins), the last one closed.
void add_calibration(std::span<const double> confidence, std::span<const double> correct, int64_t bins,
                     Metrics& metrics);

// Replaces the bins' sums by rewards/ece = sum over bins |sum confidence - sum correct| / N.
void conclude_calibration(Metrics& metrics);

}  // namespace fulcrum
