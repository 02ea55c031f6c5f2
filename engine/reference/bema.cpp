#include "engine/reference/bema.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "engine/core/text.h"
#include "engine/reference/parameters.h"

namespace fulcrum {

Bema::Bema(const BemaConfig& config, const Policy& start) : config_(config) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : start.parameters()) {
    start_.emplace_back(name, parameter.detach().clone());
    average_.emplace_back(name, parameter.detach().clone());
  }
}

Result<bool> Bema::after_step(int64_t step, const Policy& policy, Policy& reference) {
  if (step % config_.update_freq != 0) return false;
  const at::NoGradGuard no_grad;
  TRY_DO(check_same_tensors(reference, policy));
  const double age = config_.lag + config_.multiplier * static_cast<double>(step);
  const double a = std::pow(age, -config_.bias_power), b = std::pow(age, -config_.ema_power);
  for (size_t i = 0; i < start_.size(); ++i) {
    const at::Tensor now = policy.parameters()[i].second.to(at::kDouble);
    const at::Tensor average = average_[i].second.to(at::kDouble) * (1 - b) + now * b;
    reference.parameters()[i].second.copy_(average + (now - start_[i].second.to(at::kDouble)) * a);
    average_[i].second.copy_(average);
  }
  reference.parameters_changed();
  return true;
}

TensorMap Bema::save() const { return copy_tensors(average_); }

Status Bema::load(const TensorMap& average) { return set_tensors(average_, average); }

}  // namespace fulcrum
