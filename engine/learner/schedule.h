// The learning rate of each step. Pure function; called by the learner.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/learner/learner_config.h"

namespace fulcrum {

// The rate of step `step` (from 0) of `max_steps`: learning_rate times transformers' factor (get_scheduler):
// linear from 0 over warmup_steps, then 1, or down to 0 at max_steps along a line or half a cosine.
inline double scheduled_learning_rate(const LearnerConfig& config, int64_t step, int64_t max_steps) {
  const auto now = static_cast<double>(step), warm_up = static_cast<double>(config.warmup_steps);
  if (now < warm_up) return config.learning_rate * now / warm_up;
  const double left = std::max(1.0, static_cast<double>(max_steps) - warm_up);
  const double progress = std::min(1.0, (now - warm_up) / left);
  if (config.lr_scheduler_type == "linear") return config.learning_rate * (1 - progress);
  if (config.lr_scheduler_type == "cosine")
    return config.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return config.learning_rate;
}

}  // namespace fulcrum
