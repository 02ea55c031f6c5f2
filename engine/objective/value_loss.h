// The critic's loss. Called by ppo.cpp. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fulcrum {

struct TokenValueLoss {
  at::Tensor loss_N;     // with gradient to the values
  at::Tensor clipped_N;  // bool: the clipped branch holds
};

// PPO's clipped value loss (openai/baselines; TRL, verl and OpenRLHF have it too), per token:
//   1/2 max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2)
// Where the second branch is strictly larger the clip is active and the gradient is 0. Without `clip` it is
// the squared error.
TokenValueLoss value_loss(const at::Tensor& values_N, const at::Tensor& old_values_N,
                          const at::Tensor& returns_N, std::optional<double> clip);

}  // namespace fulcrum
