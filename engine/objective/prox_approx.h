// The proximal policy of decoupled PPO without a forward pass (AReaL's log-linear approximation): between the
// behaviour policy, which drew a token at some weight version, and the current one. For a learner that lets
// the weights change in the middle of a completion (`deterministic: false`); the deterministic mode draws
// each step with one version and recomputes the proximal log-probs, so only the replay tool calls it yet.
// Pure, torch-free.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fulcrum {

// How far along the way from the behaviour to the current log-prob the last update's start lies:
// (current - 1 - version)/(current - version) within [0, 1]; 0 for a token of unknown version (< 0) or of the
// current one.
inline double proximal_weight(int64_t version, int64_t current) {
  if (version < 0 || version >= current) return 0;
  const auto age = static_cast<double>(current - version);
  return std::clamp((age - 1) / age, 0.0, 1.0);
}

inline double proximal_logp(double behaviour, double now, double weight) {
  return behaviour + weight * (now - behaviour);
}

}  // namespace fulcrum
