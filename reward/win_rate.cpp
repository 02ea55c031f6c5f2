#include "reward/win_rate.h"

#include <cmath>

namespace fulcrum {

std::optional<WinRate> win_rate(const WinCount& count) {
  if (count.wins < 0 || count.ties < 0 || count.losses < 0 || count.total() == 0) return std::nullopt;
  const auto n = static_cast<double>(count.total()), wins = static_cast<double>(count.wins),
             ties = static_cast<double>(count.ties), losses = static_cast<double>(count.losses);
  WinRate out{.rate = wins / n, .adjusted = (wins + ties / 2) / n};
  // The variance around the mean, not mean of squares minus square of the mean: equal outcomes give 0.
  const auto squared = [&](double outcome) { return (outcome - out.adjusted) * (outcome - out.adjusted); };
  out.std_error = std::sqrt((wins * squared(1) + ties * squared(0.5) + losses * squared(0)) / n / n);
  return out;
}

}  // namespace fulcrum
