// Two models on the same prompts: how often one does better than the other. Called by `fulcrum eval`. Pure,
// thread-safe.
#pragma once

#include <cstdint>
#include <optional>

namespace fulcrum {

struct WinCount {
  int64_t wins = 0, ties = 0, losses = 0;
  int64_t total() const { return wins + ties + losses; }
};

struct WinRate {
  double rate = 0;       // wins / total
  double adjusted = 0;   // (wins + ties / 2) / total
  double std_error = 0;  // of `adjusted`, from the outcomes 1, 1/2 and 0
};

// No value: nothing was compared, or a negative count.
std::optional<WinRate> win_rate(const WinCount& count);

}  // namespace fulcrum
