// How many rollouts an asynchronous run may start (AReaL, arXiv 2505.24298, section 5.1). For the mode that
// takes what comes first (`deterministic: false`); in the deterministic mode step s is drawn by exactly
// version max(0, s - max_staleness), which bounds staleness by construction, so only the replay tool calls it
// yet. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fulcrum {

struct RolloutCounts {
  int64_t version = 0;   // of the newest weights
  int64_t accepted = 0;  // rollouts trained on or waiting to be; on a restart version * batch
  int64_t running = 0;
};

// min(max_concurrent - running, (max_staleness + version + 1) * batch - (accepted + running)); rollouts start
// while it is above 0, and below 0 is normal. `batch` and `max_concurrent` count as at least 1.
inline int64_t rollout_capacity(const RolloutCounts& counts, int64_t max_concurrent, int64_t batch,
                                int64_t max_staleness) {
  const int64_t free = std::max<int64_t>(1, max_concurrent) - counts.running;
  const int64_t fresh =
      (max_staleness + counts.version + 1) * std::max<int64_t>(1, batch) - (counts.accepted + counts.running);
  return std::min(free, fresh);
}

}  // namespace fulcrum
