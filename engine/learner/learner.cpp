#include "engine/learner/learner.h"

#include <ATen/Parallel.h>

#include "engine/learner/torch_learner.h"
#include "policy/nn/device.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

Status check_fit(const Model& model, const LearnerOptions& options, const Objective& objective,
                 Reference* reference) {
  const Needs needs = objective.needs();
  if ((needs.reference_logps || needs.divergence) && reference == nullptr) {
    return invalid_argument("the objective compares with a reference model, but there is none");
  }
  if (needs.scores != model.spec.score_head) {
    return invalid_argument(model.spec.score_head
                                ? "the model is a reward model, but the trainer needs one that generates"
                                : "the trainer needs a model with a score head");
  }
  if (needs.divergence &&
      (reference->model() == nullptr || objective.divergence() == nullptr || needs.entropy)) {
    return invalid_argument(
        "an exact divergence needs its generator, a reference model that stays in memory, and no "
        "entropy beside it");
  }
  if (!(options.temperature > 0))
    return invalid_argument("temperature must be above 0 for the learner's log-probs");
  if (options.num_iterations < 1) return invalid_argument("num_iterations must be at least 1");
  if (options.num_mini_batches < 1) return invalid_argument("num_mini_batches must be at least 1");
  if (options.num_mini_batches > 1 && (needs.pairs || needs.divergence)) {
    return invalid_argument(
        "num_mini_batches cuts a batch of rollouts: it must be 1 where the trainer learns from pairs");
  }
  return ok_status();
}

}  // namespace

Result<PolicyOptions> policy_options(const LearnerConfig& config) {
  TRY(device, open_device(config.device));
  return PolicyOptions{.dtype = config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat,
                       .device = device,
                       .gradient_checkpointing = config.gradient_checkpointing};
}

Result<std::unique_ptr<Learner>> Learner::create(const Model& model, const LearnerOptions& options,
                                                 std::unique_ptr<Objective> objective,
                                                 std::unique_ptr<Reference> reference) {
  if (objective == nullptr) return invalid_argument("a learner needs an objective");
  TRY_DO(check_fit(model, options, *objective, reference.get()));
  const Needs needs = objective->needs();
  at::set_num_threads(static_cast<int>(options.config.threads));
  return catch_torch("cannot build the learner", [&]() -> Result<std::unique_ptr<Learner>> {
    TRY(how, policy_options(options.config));
    TRY(policy, Policy::create(model, how));
    std::unique_ptr<Critic> critic;
    if (needs.values) {
      TRY(made, Critic::create(model, options.config, how));
      critic = std::move(made);
    }
    return std::unique_ptr<Learner>(std::make_unique<TorchLearner>(
        options, std::move(policy), std::move(critic), std::move(objective), std::move(reference)));
  });
}

}  // namespace fulcrum
