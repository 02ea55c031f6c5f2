#include "engine/learner/trained_models.h"

#include <ATen/ops/zeros_like.h>

namespace fulcrum {
namespace {

constexpr const char* kCriticPrefix = "critic/";

// A rank whose share did not touch a leaf adds 0 to its gradient.
void add_gradients(const NamedTensors& leaves, std::vector<at::Tensor>& to) {
  for (const auto& [name, leaf] : leaves) {
    if (!leaf.grad().defined()) leaf.mutable_grad() = at::zeros_like(leaf);
    to.push_back(leaf.grad());
  }
}

}  // namespace

TrainedModels::TrainedModels(std::unique_ptr<Policy> policy, std::unique_ptr<Critic> critic,
                             const LearnerConfig& config)
    : policy_(std::move(policy)), critic_(std::move(critic)), trained_(policy_->parameters(), config) {
  if (const at::Tensor leaf = policy_->output_leaf(); leaf.defined() && leaf.requires_grad())
    head_.weight_gradient = c10::make_intrusive<WeightGradient>(leaf);
}

void TrainedModels::clear_gradients() {
  head_.clear();
  trained_.clear_gradients();
  if (critic_ != nullptr) critic_->trained().clear_gradients();
}

Status TrainedModels::sum_gradients(Collective& group) const {
  if (group.alone()) return ok_status();
  std::vector<at::Tensor> gradients;
  add_gradients(trained_.leaves(), gradients);
  if (critic_ != nullptr) add_gradients(critic_->trained().leaves(), gradients);
  return group.sum_on_devices(gradients, "the gradients");
}

TrainedModels::Norms TrainedModels::update(int64_t step, int64_t max_steps) {
  std::vector<AdamW::Clipped> updates = {trained_.update(step, max_steps, policy_->rounded())};
  if (critic_ != nullptr) updates.push_back(critic_->update(step, max_steps));
  const auto [norms, rounded] = AdamW::step_clipped(updates);
  const Norms out{norms[0], critic_ != nullptr ? norms[1] : 0};
  if (!rounded && out.finite() && !out.zero()) parameters_changed();
  return out;
}

TrainedModels::Snapshot TrainedModels::snapshot() const {
  Snapshot out{trained_.snapshot(), std::nullopt};
  if (critic_ != nullptr) out.critic = critic_->trained().snapshot();
  return out;
}

void TrainedModels::restore(const Snapshot& before) {
  trained_.restore(before.policy);
  if (critic_ != nullptr) critic_->trained().restore(*before.critic);
  parameters_changed();
}

void TrainedModels::save(TensorMap& into) const {
  trained_.save("", into);
  if (critic_ != nullptr) critic_->trained().save(kCriticPrefix, into);
}

Status TrainedModels::load(const TensorMap& from, int64_t updates) {
  TRY_DO(trained_.load("", from, updates));
  if (critic_ != nullptr) TRY_DO(critic_->trained().load(kCriticPrefix, from, updates));
  parameters_changed();
  return ok_status();
}

void TrainedModels::parameters_changed() {
  policy_->parameters_changed();
  if (critic_ != nullptr) critic_->parameters_changed();
}

}  // namespace fulcrum
