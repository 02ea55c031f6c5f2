#include "engine/objective/gae.h"

namespace fulcrum {

AdvantageEstimate gae(std::span<const double> rewards, std::span<const double> values,
                      std::span<const uint8_t> mask, const GaeOptions& options) {
  AdvantageEstimate out{std::vector<double>(rewards.size(), 0.0), std::vector<double>(rewards.size(), 0.0)};
  double next_value = 0, trace = 0;
  for (size_t t = rewards.size(); t-- > 0;) {
    const bool counts = mask[t] != 0;
    if (!counts && options.mode == GaeMode::kMaskSkip) continue;
    const double reward = counts ? rewards[t] : 0, value = counts ? values[t] : 0;
    trace = reward + options.gamma * next_value - value + options.gamma * options.lam * trace;
    next_value = value;
    if (!counts) continue;
    out.advantages[t] = trace;
    out.returns[t] = trace + value;
  }
  return out;
}

}  // namespace fulcrum
