// The discounted sum of a completion's rewards from each token on (REINFORCE++, arXiv 2501.03262). Called by
// reinforce_pp.cpp, on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fulcrum {

// G_t = r_t + gamma G_{t+1} over one row's unmasked tokens; a masked token is skipped: it has no return, its
// reward is lost, and the return is carried over it.
inline std::vector<double> reward_to_go(std::span<const double> rewards, std::span<const uint8_t> mask,
                                        double gamma) {
  std::vector<double> returns(rewards.size(), 0.0);
  double next = 0;
  for (size_t t = rewards.size(); t-- > 0;) {
    if (mask[t] == 0) continue;
    next = rewards[t] + gamma * next;
    returns[t] = next;
  }
  return returns;
}

}  // namespace fulcrum
