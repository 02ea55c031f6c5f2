#include "engine/objective/whiten.h"

#include <algorithm>
#include <cmath>

namespace fulcrum {
namespace {

constexpr double kVerlCount = 1e-8;      // added to verl's count
constexpr double kVarianceFloor = 1e-8;  // added to the variance, or its least value
constexpr double kArealSpread = 1e-5;    // added to AReaL's standard deviation

// What to multiply by. `mean_square` is the mean of the squared distances from the mean.
double inverse_spread(WhitenKind kind, double mean_square, double n) {
  switch (kind) {
    case WhitenKind::kTrl:
    case WhitenKind::kVerl:
      return 1 / std::sqrt(mean_square * n / (n - 1) + kVarianceFloor);
    case WhitenKind::kOpenRlhf:
      return 1 / std::sqrt(std::max(mean_square, kVarianceFloor));
    case WhitenKind::kAreal:
      return 1 / (std::sqrt(mean_square) + kArealSpread);
  }
  return 1;
}

}  // namespace

// All sums run over x - x_first, not x: a constant input then cancels exactly instead of to a rounding error
// that the division would blow up.
std::vector<double> whiten(std::span<const double> x, std::span<const uint8_t> mask, WhitenKind kind,
                           bool shift_mean) {
  std::vector<double> out(x.size(), 0.0);
  std::vector<size_t> kept;
  for (size_t i = 0; i < x.size(); ++i) {
    if (mask[i] != 0) kept.push_back(i);
  }
  if (kept.size() < 2) return out;
  const double first = x[kept.front()];
  const auto n = static_cast<double>(kept.size());
  const double extra = kind == WhitenKind::kVerl ? kVerlCount : 0;
  double sum = 0, squares = 0;
  for (const size_t i : kept) sum += x[i] - first;
  const double offset = (sum - extra * first) / (n + extra);  // mean - first
  for (const size_t i : kept) squares += (x[i] - first - offset) * (x[i] - first - offset);
  const double scale = inverse_spread(kind, squares / (n + extra), n);
  const double back = shift_mean ? 0 : first + offset;
  for (const size_t i : kept) out[i] = (x[i] - first - offset) * scale + back;
  return out;
}

}  // namespace fulcrum
