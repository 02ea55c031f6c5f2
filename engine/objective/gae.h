// Generalised advantage estimation over one completion (arXiv 1506.02438, equations 11 to 16). Called by
// ppo.cpp in prepare(), on the host in double. Pure, torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fulcrum {

// What a masked token (a tool's, not the policy's) is in the recursion.
enum class GaeMode {
  kMaskSkip,    // nothing: the value and the trace come from the next unmasked token (verl, AReaL)
  kZeroMasked,  // a state of value 0 and reward 0 that the recursion runs through (OpenRLHF)
};

struct GaeOptions {
  double gamma = 1, lam = 0.95;
  GaeMode mode = GaeMode::kMaskSkip;
};

struct AdvantageEstimate {
  std::vector<double> advantages, returns;  // one a token; 0 where masked
};

// With V = 0 after the last token:
//   delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   R_t = A_t + V_t
// values[t] is the critic at the state before token t. Numbers under mask 0 do not matter.
AdvantageEstimate gae(std::span<const double> rewards, std::span<const double> values,
                      std::span<const uint8_t> mask, const GaeOptions& options);

}  // namespace fulcrum
