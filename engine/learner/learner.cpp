#include "engine/learner/learner.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/data/slice.h"
#include "engine/learner/adamw.h"
#include "engine/learner/guards.h"
#include "engine/learner/host_state.h"
#include "engine/learner/micro_batch.h"
#include "engine/learner/reference_metrics.h"
#include "engine/learner/schedule.h"
#include "engine/learner/tensors.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

// How far policy and reference may be apart when their weights are equal.
double equal_logps_limit(const LearnerConfig& config) { return config.dtype == "bfloat16" ? 0.05 : 1e-4; }

// |learner - rollout| over the targets that train; rehearsal rows were not sampled in this step.
void add_sampling_difference(const TrainBatch& batch, const std::vector<float>& logps, Metrics& metrics) {
  if (batch.sampling_logps.empty()) return;
  double sum = 0, count = 0, largest = 0;
  for (size_t i = 0; i < logps.size(); ++i) {
    if (batch.target_mask[i] == 0 || batch.rows[static_cast<size_t>(batch.target_row[i])].rehearsal) continue;
    const double difference =
        std::abs(static_cast<double>(logps[i]) - static_cast<double>(batch.sampling_logps[i]));
    sum += difference;
    count += 1;
    largest = std::max(largest, difference);
  }
  if (count == 0) return;
  add_metric(metrics, "sampling/sampling_logp_difference/mean", sum, count);
  add_metric(metrics, "sampling/sampling_logp_difference/max", largest);
}

class TorchLearner final : public Learner {
 public:
  TorchLearner(const LearnerOptions& options, std::unique_ptr<Policy> policy,
               std::unique_ptr<Objective> objective, std::unique_ptr<Reference> reference)
      : options_(options),
        policy_(std::move(policy)),
        objective_(std::move(objective)),
        reference_(std::move(reference)),
        optimizer_(policy_->parameters(), options.config) {}

  Result<Metrics> step(TrainBatch batch, std::stop_token stop) override {
    at::set_num_threads(
        static_cast<int>(options_.config.threads));  // OpenMP's setting belongs to the calling thread
    Result<Metrics> out = catch_torch("learner step", [&] { return train(batch, stop); });
    clear_gradients(policy_->parameters());
    return out;
  }

  Result<Metrics> evaluate(TrainBatch batch, std::stop_token stop) override {
    at::set_num_threads(static_cast<int>(options_.config.threads));
    return catch_torch("evaluation", [&] { return measure(batch, stop); });
  }

  Result<std::vector<float>> logps(const TrainBatch& batch, std::stop_token stop) override {
    at::set_num_threads(static_cast<int>(options_.config.threads));
    return batch_logps(*policy_, batch, options_.temperature, options_.config.max_tokens_per_micro_batch,
                       options_.config.logits_chunk, stop);
  }

  int64_t steps_done() const override { return host_.steps_done; }
  const ModelSpec& spec() const override { return policy_->spec(); }
  const Reference* reference() const override { return reference_.get(); }

  TensorMap weights() const override {
    TensorMap out;
    for (const auto& [name, leaf] : policy_->parameters()) out.emplace(name, copy_out(leaf));
    return out;
  }

  LearnerState save() const override;
  Status load(const LearnerState& state) override;

 private:
  Result<Metrics> train(TrainBatch& batch, const std::stop_token& stop);
  Result<Metrics> measure(TrainBatch& batch, const std::stop_token& stop);
  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics, const std::stop_token& stop);
  Status run_updates(TrainBatch& batch, HostState& next, Metrics& metrics, const std::stop_token& stop);
  Result<double> accumulate(const TrainBatch& batch, bool first, std::vector<float>& logps, Metrics& metrics,
                            const std::stop_token& stop);
  Status check_first_pass(const TrainBatch& batch, const std::vector<float>& logps) const;
  Status apply(double loss, HostState& next, Metrics& metrics);
  Status move_reference(const TrainBatch& batch, Metrics& metrics);

  LearnerOptions options_;
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<Reference> reference_;
  AdamW optimizer_;
  HostState host_;
};

// What the losses of a batch need: what the models say of it, then the objective's numbers.
Status TorchLearner::prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics,
                             const std::stop_token& stop) {
  TRY_DO(check_vocabulary(batch, policy_->spec()));
  if (batch.num_targets() == 0) return invalid_argument("the batch has no completion token to learn from");
  const Needs needs = objective_->needs();
  if (needs.policy_logps) {
    TRY(old, logps(batch, stop));
    batch.old_logps = std::move(old);
  }
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
  add_metric(metrics, "loss", loss);
  return metrics;
}

// One rollout batch. Nothing of the learner's state changes unless all of it succeeds.
Result<Metrics> TorchLearner::train(TrainBatch& batch, const std::stop_token& stop) {
  HostState next = host_;
  Metrics metrics;
  TRY_DO(prepare(batch, next.objective, metrics, stop));
  if (next.zero_spread.note(has_no_reward_spread(batch), options_.config.max_zero_std_steps)) {
    return data_loss("the rewards had no spread within any group for " +
                     std::to_string(next.zero_spread.in_row) +
                     " steps in a row (max_zero_std_steps): the policy cannot learn from them; look at the "
                     "reward and at " +
                     "how hard the prompts are");
  }
  std::optional<AdamW::Snapshot> before;
  if (options_.num_iterations > 1) before = optimizer_.snapshot();
  const Status status = run_updates(batch, next, metrics, stop);
  if (!status.ok()) {
    if (before) {
      optimizer_.restore(*before);
      policy_->parameters_changed();
    }
    return status;
  }
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
  TRY_DO(reference_->after_step(host_.steps_done, *policy_));
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
    clear_gradients(policy_->parameters());
    std::vector<float> logps;
    TRY(loss, accumulate(batch, iteration == 0, logps, metrics, stop));
    if (iteration == 0 && std::isfinite(loss)) {
      TRY_DO(check_first_pass(batch, logps));
      add_sampling_difference(batch, logps, metrics);
      if (reference_ != nullptr) add_reference_metrics(*reference_, batch, logps, next.objective, metrics);
    }
    if (iteration == 0 && objective_->needs().old_logps && batch.old_logps.empty())
      batch.old_logps = std::move(logps);
    TRY_DO(apply(loss, next, metrics));
  }
  return ok_status();
}

// Adds up the gradient over micro-batches; the loss is returned, the log-probs of all targets are collected.
Result<double> TorchLearner::accumulate(const TrainBatch& batch, bool first, std::vector<float>& logps,
                                        Metrics& metrics, const std::stop_token& stop) {
  const MicroBatchOptions options{options_.temperature, options_.config.logits_chunk, first};
  const int64_t max_tokens = options_.config.max_tokens_per_micro_batch;
  double loss = 0;
  for (const RowRange range : micro_batches(batch, max_tokens, objective_->needs().pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    TRY(result, run_micro_batch(*policy_, *objective_, part, options));
    loss += result.loss;
    merge_metrics(metrics, result.metrics);
    const float* values = result.logps_N.const_data_ptr<float>();
    logps.insert(logps.end(), values, values + result.logps_N.numel());
  }
  if (stop.stop_requested()) return cancelled();
  return loss;
}

// At the first step a reference with the policy's weights must give the policy's log-probs.
Status TorchLearner::check_first_pass(const TrainBatch& batch, const std::vector<float>& logps) const {
  if (host_.steps_done > 0 || batch.reference_logps.empty()) return ok_status();
  if (reference_->content_hash() != content_hash(weights())) return ok_status();
  return check_equal_logps(batch, logps, batch.reference_logps, equal_logps_limit(options_.config));
}

// Clips and steps, or skips the step if a number is not finite.
Status TorchLearner::apply(double loss, HostState& next, Metrics& metrics) {
  const double norm = gradient_norm(policy_->parameters());
  const double rate = scheduled_learning_rate(options_.config, next.steps_done, options_.max_steps);
  add_metric(metrics, "learning_rate", rate);
  const bool finite = std::isfinite(loss) && std::isfinite(norm);
  const bool stop = next.skipped.note(!finite, options_.config.max_skipped_steps);
  if (!finite) {
    const std::string what = "the " + std::string(std::isfinite(loss) ? "gradient" : "loss") +
                             " is not finite at step " + std::to_string(next.steps_done);
    if (stop) {
      return data_loss(what + ", as it was " + std::to_string(next.skipped.in_row) +
                       " times in a row (max_skipped_steps): lower learning_rate or look at the data; no "
                       "such step was taken");
    }
    log_warn(what + ": the step is skipped");
    return ok_status();
  }
  add_metric(metrics, "loss", loss);
  add_metric(metrics, "grad_norm", norm);
  clip_gradients(policy_->parameters(), norm, options_.config.max_grad_norm);
  optimizer_.step(rate);
  policy_->parameters_changed();
  return ok_status();
}

LearnerState TorchLearner::save() const {
  LearnerState out;
  for (const auto& [name, leaf] : policy_->parameters()) out.tensors["param/" + name] = copy_out(leaf);
  optimizer_.save(out.tensors);
  HostState host = host_;
  host.optimizer_steps = optimizer_.steps();
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
  std::vector<at::Tensor> values;
  for (const auto& [name, leaf] : policy_->parameters()) {
    TRY(value, copy_in(state.tensors, "param/" + name, leaf));
    values.push_back(value);
  }
  TRY_DO(optimizer_.load(state.tensors, host.optimizer_steps));
  if (reference_ != nullptr) {
    constexpr std::string_view kPrefix = "reference/";
    TensorMap tensors;
    for (const auto& [name, tensor] : state.tensors) {
      if (name.starts_with(kPrefix)) tensors.emplace(name.substr(kPrefix.size()), tensor);
    }
    TRY_DO(reference_->load(tensors, host.reference_version));
  }
  const at::NoGradGuard no_gradients;
  for (size_t i = 0; i < values.size(); ++i) {
    at::Tensor leaf = policy_->parameters()[i].second;
    leaf.copy_(values[i]);
  }
  policy_->parameters_changed();
  host_ = std::move(host);
  return ok_status();
}

}  // namespace

Result<std::unique_ptr<Learner>> Learner::create(const Model& model, const LearnerOptions& options,
                                                 std::unique_ptr<Objective> objective,
                                                 std::unique_ptr<Reference> reference) {
  if (objective == nullptr) return invalid_argument("a learner needs an objective");
  if (objective->needs().reference_logps && reference == nullptr) {
    return invalid_argument("the objective compares with a reference model, but there is none");
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
    std::unique_ptr<Learner> learner = std::make_unique<TorchLearner>(
        options, std::move(policy), std::move(objective), std::move(reference));
    return learner;
  });
}

}  // namespace fulcrum
