// BEMA, the bias-corrected exponential moving average (Block and Zhang, arXiv 2508.00180; TRL's
// BEMACallback). With theta_0 the policy as it started and theta_t as it is after step t:
//   EMA_t = (1 - b_t) EMA_(t-1) + b_t theta_t,   b_t = (lag + multiplier t)^-ema_power,   EMA_0 = theta_0
//   reference = EMA_t + a_t (theta_t - theta_0),  a_t = (lag + multiplier t)^-bias_power
// at every update_freq-th step t; between them nothing moves. Called by reference.cpp. Not thread-safe.
#pragma once

#include "engine/core/status.h"
#include "engine/reference/reference_config.h"
#include "policy/nn/policy.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

class Bema {
 public:
  // `start`: theta_0, copied.
  Bema(const BemaConfig& config, const Policy& start);

  // After optimizer step `step` (from 1). Whether the reference moved. In double; the reference and the
  // average are rounded once each.
  Result<bool> after_step(int64_t step, const Policy& policy, Policy& reference);

  // The average, by the parameters' names.
  TensorMap save() const;
  // kInvalidArgument if names or shapes are not the policy's; nothing is then changed.
  Status load(const TensorMap& average);

 private:
  BemaConfig config_;
  NamedTensors start_, average_;  // fp32
};

}  // namespace fulcrum
