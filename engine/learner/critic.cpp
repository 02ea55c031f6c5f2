#include "engine/learner/critic.h"

#include <ATen/ops/zeros.h>

#include "engine/core/text.h"
#include "policy/nn/target_logps.h"

namespace fulcrum {
namespace {

Result<Model> critic_model(const Model& start, const std::string& value_model) {
  if (value_model.empty()) return as_score_model(start);
  Result<Model> model = load_model(value_model);
  if (!model.ok()) return model.status().with_context("value_model " + in_quotes(value_model));
  if (model->spec.vocab_size != start.spec.vocab_size) {
    return invalid_argument("value_model " + in_quotes(value_model) + " has " +
                            std::to_string(model->spec.vocab_size) + " tokens, the policy " +
                            std::to_string(start.spec.vocab_size) + ": a critic reads the policy's tokens");
  }
  return as_score_model(std::move(model).value());
}

LearnerConfig with_critic_rate(LearnerConfig config) {
  config.learning_rate = config.critic.value_learning_rate;
  return config;
}

}  // namespace

Critic::Critic(std::unique_ptr<Policy> model, at::Tensor head_1D, NamedTensors leaves,
               const LearnerConfig& config)
    : model_(std::move(model)),
      head_1D_(std::move(head_1D)),
      trained_(std::move(leaves), with_critic_rate(config)) {}

Result<std::unique_ptr<Critic>> Critic::create(const Model& start, const LearnerConfig& config,
                                               const PolicyOptions& options) {
  if (config.critic.value_head == "shared") {
    const at::Tensor head_1D =
        at::zeros({1, start.spec.hidden_size}, at::TensorOptions(options.device)).set_requires_grad(true);
    return std::unique_ptr<Critic>(new Critic(nullptr, head_1D, {{"score.weight", head_1D}}, config));
  }
  TRY(from, critic_model(start, config.critic.value_model));
  TRY(model, Policy::create(from, options));
  const NamedTensors leaves = model->parameters();
  return std::unique_ptr<Critic>(new Critic(std::move(model), {}, leaves, config));
}

at::Tensor Critic::values(const at::Tensor& policy_hidden_TD, const TrainBatch& slice) {
  if (shared()) return scores(target_states(policy_hidden_TD, slice), head_1D_);
  return scores(target_states(model_->hidden(slice), slice), model_->score_weight());
}

AdamW::Clipped Critic::update(int64_t step, int64_t max_steps) {
  return trained_.update(step, max_steps, shared() ? std::vector<at::Tensor>() : model_->rounded());
}

void Critic::parameters_changed() {
  if (model_ != nullptr) model_->parameters_changed();
}

}  // namespace fulcrum
