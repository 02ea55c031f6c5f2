#include "engine/learner/trained_parameters.h"

#include <ATen/core/grad_mode.h>

#include "engine/learner/schedule.h"
#include "engine/learner/tensors.h"

namespace fulcrum {

TrainedParameters::TrainedParameters(NamedTensors leaves, const LearnerConfig& config)
    : config_(config), leaves_(std::move(leaves)), optimizer_(leaves_, config) {}

AdamW::Clipped TrainedParameters::update(int64_t step, int64_t max_steps, std::vector<at::Tensor> rounded) {
  return {optimizer_, scheduled_learning_rate(config_, step, max_steps), config_.max_grad_norm,
          std::move(rounded)};
}

void TrainedParameters::save(const std::string& prefix, TensorMap& into) const {
  TensorMap mine;
  for (const auto& [name, leaf] : leaves_) mine["param/" + name] = copy_out(leaf);
  optimizer_.save(mine);
  for (auto& [name, tensor] : mine) into[prefix + name] = std::move(tensor);
}

Status TrainedParameters::load(const std::string& prefix, const TensorMap& from, int64_t updates) {
  TensorMap mine;
  for (const auto& [name, tensor] : from) {
    if (name.starts_with(prefix)) mine.emplace(name.substr(prefix.size()), tensor);
  }
  std::vector<at::Tensor> values;
  for (const auto& [name, leaf] : leaves_) {
    TRY(value, copy_in(mine, "param/" + name, leaf));
    values.push_back(value);
  }
  TRY_DO(optimizer_.load(mine, updates));
  const at::NoGradGuard no_gradients;
  for (size_t i = 0; i < values.size(); ++i) leaves_[i].second.copy_(values[i]);
  return ok_status();
}

}  // namespace fulcrum
