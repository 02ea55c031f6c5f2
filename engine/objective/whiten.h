// Whitening of advantages or rewards over the unmasked tokens of a step. Called by the objectives in
// prepare(), on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fulcrum {

// Whose whitening; they differ in the variance's divisor and in what keeps the division finite.
enum class WhitenKind {
  kTrl,       // variance with n - 1; divide by sqrt(variance + 1e-8)
  kVerl,      // the same, with n + 1e-8 in place of n in the mean and the variance
  kOpenRlhf,  // variance with n, at least 1e-8; divide by its root
  kAreal,     // variance with n; divide by its root + 1e-5
};

// (x - mean) / spread where mask is 1, 0 elsewhere; without `shift_mean` the mean is added back after the
// division, so that only the scale changes. No unmasked entry, or a single one: no spread can be formed, all
// zeros. Constant input gives exactly 0 (kVerl leaves the residue of its 1e-8).
std::vector<double> whiten(std::span<const double> x, std::span<const uint8_t> mask, WhitenKind kind,
                           bool shift_mean);

}  // namespace fulcrum
