#include "engine/learner/learner.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <optional>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/data/slice.h"
#include "engine/learner/first_pass.h"
#include "engine/learner/guards.h"
#include "engine/learner/host_state.h"
#include "engine/learner/micro_batch.h"
#include "engine/learner/old_outputs.h"
#include "engine/learner/reference_metrics.h"
#include "engine/learner/schedule.h"
#include "engine/learner/tensors.h"
#include "engine/learner/trained_models.h"
#include "engine/reference/parameters.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

void append(std::vector<float>& out, const at::Tensor& values_N) {
  const float* values = values_N.const_data_ptr<float>();
  out.insert(out.end(), values, values + values_N.numel());
}

class TorchLearner final : public Learner {
 public:
  TorchLearner(const LearnerOptions& options, std::unique_ptr<Policy> policy, std::unique_ptr<Critic> critic,
               std::unique_ptr<Objective> objective, std::unique_ptr<Reference> reference)
      : options_(options),
        trained_(std::move(policy), std::move(critic), options.config),
        objective_(std::move(objective)),
        reference_(std::move(reference)) {}

  Result<Metrics> step(TrainBatch batch, std::stop_token stop) override {
    at::set_num_threads(
        static_cast<int>(options_.config.threads));  // OpenMP's setting belongs to the calling thread
    Result<Metrics> out = catch_torch("learner step", [&] { return train(batch, stop); });
    trained_.clear_gradients();
    return out;
  }

  Result<Metrics> evaluate(TrainBatch batch, std::stop_token stop) override {
    at::set_num_threads(static_cast<int>(options_.config.threads));
    return catch_torch("evaluation", [&] { return measure(batch, stop); });
  }

  Result<std::vector<float>> logps(const TrainBatch& batch, std::stop_token stop) override {
    at::set_num_threads(static_cast<int>(options_.config.threads));
    return batch_logps(trained_.policy(), batch, options_.temperature,
                       options_.config.max_tokens_per_micro_batch, options_.config.logits_chunk, stop);
  }

  int64_t steps_done() const override { return host_.steps_done; }
  const ModelSpec& spec() const override { return trained_.policy().spec(); }
  const Reference* reference() const override { return reference_.get(); }

  TensorMap weights() const override { return copy_parameters(trained_.policy()); }

  void put_objective_values(const std::string& name, std::vector<double> values) override {
    host_.objective.values[name] = std::move(values);
  }

  LearnerState save() const override;
  Status load(const LearnerState& state) override;

 private:
  ForwardOptions forward_options() const {
    return {options_.temperature, options_.config.max_tokens_per_micro_batch, options_.config.logits_chunk};
  }
  Result<Metrics> train(TrainBatch& batch, const std::stop_token& stop);
  Result<Metrics> measure(TrainBatch& batch, const std::stop_token& stop);
  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics, const std::stop_token& stop);
  Status run_updates(TrainBatch& batch, HostState& next, Metrics& metrics, const std::stop_token& stop);
  // A step's loss; if an output that it is made of is not finite, NaN and the reason.
  struct StepLoss {
    double value = 0;
    std::string not_finite;
  };
  Result<StepLoss> accumulate(TrainBatch& batch, bool first, std::vector<float>& logps, Metrics& metrics,
                              const std::stop_token& stop);
  Status apply(const StepLoss& loss, HostState& next, Metrics& metrics);
  Status move_reference(const TrainBatch& batch, Metrics& metrics);

  LearnerOptions options_;
  TrainedModels trained_;
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<Reference> reference_;
  HostState host_;
  bool idle_ = false;  // the last step had no gradient: said once
};

// What the losses of a batch need: what the models say of it, then the objective's numbers.
Status TorchLearner::prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics,
                             const std::stop_token& stop) {
  TRY_DO(check_vocabulary(batch, trained_.policy().spec()));
  if (batch.num_targets() == 0) return invalid_argument("the batch has no completion token to learn from");
  const Needs needs = objective_->needs();
  TRY_DO(fetch_old_outputs(trained_.models(), needs, forward_options(), batch, stop));
  if (needs.reference_logps) {
    TRY(constant, reference_->logps(batch, options_.temperature, options_.config.max_tokens_per_micro_batch,
                                    options_.config.logits_chunk, stop));
    batch.reference_logps = std::move(constant);
  }
  return objective_->prepare(batch, state, metrics);
}

Result<Metrics> TorchLearner::measure(TrainBatch& batch, const std::stop_token& stop) {
  const at::NoGradGuard no_gradients;
  ObjectiveState unused = host_.objective;
  Metrics metrics;
  TRY_DO(prepare(batch, unused, metrics, stop));
  std::vector<float> logps;
  TRY(loss, accumulate(batch, true, logps, metrics, stop));
  objective_->conclude(metrics);
  if (!loss.not_finite.empty()) log_warn("evaluation: " + loss.not_finite);
  add_metric(metrics, "loss", loss.value);
  return metrics;
}

// One rollout batch. Nothing of the learner's state changes unless all of it succeeds.
Result<Metrics> TorchLearner::train(TrainBatch& batch, const std::stop_token& stop) {
  HostState next = host_;
  Metrics metrics;
  TRY_DO(prepare(batch, next.objective, metrics, stop));
  // With a critic the spread within a group is not what is learnt from.
  const bool no_spread = !trained_.has_critic() && has_no_reward_spread(batch);
  if (next.zero_spread.note(no_spread, options_.config.max_zero_std_steps)) {
    return data_loss("the rewards had no spread within any group for " +
                     std::to_string(next.zero_spread.in_row) +
                     " steps in a row (max_zero_std_steps): the policy cannot learn from them; look at the "
                     "reward and at " +
                     "how hard the prompts are");
  }
  std::optional<TrainedModels::Snapshot> before;
  if (options_.num_iterations > 1) before = trained_.snapshot();
  const Status status = run_updates(batch, next, metrics, stop);
  if (!status.ok()) {
    if (before) trained_.restore(*before);
    return status;
  }
  objective_->conclude(metrics);
  next.steps_done += 1;
  next.tokens_seen += batch.num_tokens();
  add_metric(metrics, "num_tokens", static_cast<double>(next.tokens_seen));
  add_metric(metrics, "guards/skipped_steps", static_cast<double>(next.skipped.total));
  host_ = std::move(next);
  if (reference_ != nullptr) TRY_DO(move_reference(batch, metrics));
  return metrics;
}

// The step is done and must be recorded: what a move changed is measured whatever stop is asked for.
Status TorchLearner::move_reference(const TrainBatch& batch, Metrics& metrics) {
  const int64_t version = reference_->version();
  TRY_DO(reference_->after_step(host_.steps_done, trained_.policy()));
  if (reference_->version() == version) return ok_status();
  log_info("step " + std::to_string(host_.steps_done) + ": the reference moved to version " +
           std::to_string(reference_->version()) + ", content hash " + reference_->content_hash());
  TRY(moved, reference_->logps(batch, options_.temperature, options_.config.max_tokens_per_micro_batch,
                               options_.config.logits_chunk, {}));
  add_move_metrics(*reference_, batch, moved, metrics);
  return ok_status();
}

// The optimizer steps on one rollout batch. The first pass also gives the old log-probs: the policy has not
// moved yet.
Status TorchLearner::run_updates(TrainBatch& batch, HostState& next, Metrics& metrics,
                                 const std::stop_token& stop) {
  for (int64_t iteration = 0; iteration < options_.num_iterations; ++iteration) {
    trained_.clear_gradients();
    std::vector<float> logps;
    TRY(loss, accumulate(batch, iteration == 0, logps, metrics, stop));
    if (iteration == 0 && std::isfinite(loss.value)) {
      if (host_.steps_done == 0)
        TRY_DO(check_first_step(batch, logps, trained_.policy(), reference_.get(), options_.config));
      add_sampling_difference(batch, logps, metrics);
      if (reference_ != nullptr) add_reference_metrics(*reference_, batch, logps, next.objective, metrics);
    }
    if (iteration == 0 && objective_->needs().old_logps && batch.old_logps.empty())
      batch.old_logps = std::move(logps);
    TRY_DO(apply(loss, next, metrics));
  }
  return ok_status();
}

// Adds up the gradient over micro-batches; the loss is returned, the log-probs of all targets are collected,
// into the batch the reference's where they come with an exact divergence.
Result<TorchLearner::StepLoss> TorchLearner::accumulate(TrainBatch& batch, bool first,
                                                        std::vector<float>& logps, Metrics& metrics,
                                                        const std::stop_token& stop) {
  const bool divergence = objective_->needs().divergence;
  const ForwardOptions options = forward_options();
  Models models = trained_.models();
  if (divergence) models.reference = reference_->model();
  StepLoss loss;
  std::vector<float> reference_logps;
  for (const RowRange range : micro_batches(batch, options.max_tokens, objective_->needs().pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    TRY(result, run_micro_batch(models, *objective_, part, options, first));
    loss.value += result.loss;
    if (loss.not_finite.empty()) loss.not_finite = std::move(result.not_finite);
    merge_metrics(metrics, result.metrics);
    if (result.logps_N.defined()) append(logps, result.logps_N);
    if (divergence) append(reference_logps, result.reference_logps_N);
  }
  if (stop.stop_requested()) return cancelled();
  if (divergence) batch.reference_logps = std::move(reference_logps);
  return loss;
}

// Clips and steps. The step is skipped if a number is not finite; and if there is no gradient at all (no
// spread of rewards, every row masked), where AdamW's momentum would go on moving the weights.
Status TorchLearner::apply(const StepLoss& loss, HostState& next, Metrics& metrics) {
  const TrainedModels::Norms norms = trained_.gradient_norms();
  add_metric(metrics, "learning_rate",
             scheduled_learning_rate(options_.config, next.steps_done, options_.max_steps));
  const bool finite = std::isfinite(loss.value) && norms.finite();
  const bool stop = next.skipped.note(!finite, options_.config.max_skipped_steps);
  if (!finite) {
    std::string what = loss.not_finite;
    if (what.empty())
      what = std::isfinite(loss.value) ? "the gradient is not finite" : "the loss is not finite";
    what = "step " + std::to_string(next.steps_done) + ": " + what;
    if (stop) {
      return data_loss(what + "; " + std::to_string(next.skipped.in_row) +
                       " such steps in a row (max_skipped_steps): lower learning_rate or look at the data; "
                       "none of them was taken");
    }
    log_warn(what + "; the step is skipped");
    return ok_status();
  }
  add_metric(metrics, "loss", loss.value);
  add_metric(metrics, "grad_norm", norms.policy);
  if (trained_.has_critic()) add_metric(metrics, "critic/grad_norm", norms.critic);
  add_metric(metrics, "guards/zero_gradient", norms.zero() ? 1 : 0);
  if (!norms.zero()) trained_.update(norms, next.steps_done, options_.max_steps);
  if (norms.zero() && !idle_) {
    log_warn("step " + std::to_string(next.steps_done) +
             ": nothing to learn from (no rewards, none that differ, or every row masked); the weights stay "
             "until a step has a gradient");
  }
  idle_ = norms.zero();
  return ok_status();
}

LearnerState TorchLearner::save() const {
  LearnerState out;
  trained_.save(out.tensors);
  HostState host = host_;
  host.optimizer_steps = trained_.updates();
  if (reference_ != nullptr) {
    for (const auto& [name, tensor] : reference_->save()) out.tensors["reference/" + name] = tensor;
    host.reference_version = reference_->version();
  }
  out.host = write_host_state(host);
  return out;
}

// A learner whose load failed is not used any more, so only what can be checked first is.
Status TorchLearner::load(const LearnerState& state) {
  TRY(host, read_host_state(state.host));
  TRY_DO(trained_.load(state.tensors, host.optimizer_steps));
  if (reference_ != nullptr) {
    constexpr std::string_view kPrefix = "reference/";
    TensorMap tensors;
    for (const auto& [name, tensor] : state.tensors) {
      if (name.starts_with(kPrefix)) tensors.emplace(name.substr(kPrefix.size()), tensor);
    }
    TRY_DO(reference_->load(tensors, host.reference_version));
  }
  host_ = std::move(host);
  return ok_status();
}

}  // namespace

Result<std::unique_ptr<Learner>> Learner::create(const Model& model, const LearnerOptions& options,
                                                 std::unique_ptr<Objective> objective,
                                                 std::unique_ptr<Reference> reference) {
  if (objective == nullptr) return invalid_argument("a learner needs an objective");
  const Needs needs = objective->needs();
  if ((needs.reference_logps || needs.divergence) && reference == nullptr) {
    return invalid_argument("the objective compares with a reference model, but there is none");
  }
  if (needs.scores != model.spec.score_head) {
    return invalid_argument(model.spec.score_head
                                ? "the model is a reward model, but the trainer needs one that generates"
                                : "the trainer needs a model with a score head");
  }
  if (needs.divergence &&
      (reference->model() == nullptr || objective->divergence() == nullptr || needs.entropy)) {
    return invalid_argument(
        "an exact divergence needs its generator, a reference model that stays in memory, and no "
        "entropy beside it");
  }
  if (!(options.temperature > 0))
    return invalid_argument("temperature must be above 0 for the learner's log-probs");
  if (options.num_iterations < 1) return invalid_argument("num_iterations must be at least 1");
  at::set_num_threads(static_cast<int>(options.config.threads));
  return catch_torch("cannot build the learner", [&]() -> Result<std::unique_ptr<Learner>> {
    PolicyOptions policy_options;
    policy_options.dtype = options.config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
    policy_options.gradient_checkpointing = options.config.gradient_checkpointing;
    TRY(policy, Policy::create(model, policy_options));
    std::unique_ptr<Critic> critic;
    if (needs.values) {
      TRY(made, Critic::create(model, options.config, policy_options));
      critic = std::move(made);
    }
    return std::unique_ptr<Learner>(std::make_unique<TorchLearner>(
        options, std::move(policy), std::move(critic), std::move(objective), std::move(reference)));
  });
}

}  // namespace fulcrum
