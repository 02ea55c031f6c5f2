#include "engine/learner/torch_learner.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <optional>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/rng.h"
#include "engine/core/stopwatch.h"
#include "engine/data/mini_batches.h"
#include "engine/data/slice.h"
#include "engine/learner/first_pass.h"
#include "engine/learner/guards.h"
#include "engine/learner/old_outputs.h"
#include "engine/learner/rank_share.h"
#include "engine/learner/reference_metrics.h"
#include "engine/learner/schedule.h"
#include "engine/learner/tensors.h"
#include "engine/reference/parameters.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

constexpr double kSameNorm = 1e-5;  // relative: fp32 sums in any order

kernels::FallbackCounts fallbacks_since(const kernels::FallbackCounts& before) {
  kernels::FallbackCounts out = kernels::fallback_counts();
  for (size_t i = 0; i < out.size(); ++i) out[i] -= before[i];
  return out;
}

// perf/fallback/*, of the step and of publishing the weights before it.
void add_fallbacks(const kernels::FallbackCounts& step, const kernels::FallbackCounts& publishing,
                   Metrics& metrics) {
  for (size_t i = 0; i < step.size(); ++i) {
    if (const int64_t count = step[i] + publishing[i]; count > 0)
      add_metric(metrics, std::string("perf/fallback/") + kernels::kFallbackNames[i],
                 static_cast<double>(count));
  }
}

}  // namespace

Result<Metrics> TorchLearner::step(TrainBatch batch, std::stop_token stop) {
  at::set_num_threads(
      static_cast<int>(options_.config.threads));  // OpenMP's setting belongs to the calling thread
  ranks_.begin();
  const kernels::FallbackCounts before = kernels::fallback_counts();
  reference_seconds_ = 0;
  Stopwatch watch;
  Result<Metrics> out = catch_torch("learner step", [&] { return train(batch, stop); });
  trained_.clear_gradients();
  if (out.ok()) {
    add_fallbacks(fallbacks_since(before), std::exchange(publishing_, {}), *out);
    add_metric(*out, "timing_s/update_actor", watch.lap() - reference_seconds_);
    if (reference_seconds_ > 0) add_metric(*out, "timing_s/ref", reference_seconds_);
  }
  return ranks_.settle(std::move(out));
}

Result<Metrics> TorchLearner::evaluate(TrainBatch batch, std::stop_token stop) {
  at::set_num_threads(static_cast<int>(options_.config.threads));
  ranks_.begin();
  return ranks_.settle(catch_torch("evaluation", [&] { return measure(batch, stop); }));
}

Result<std::vector<float>> TorchLearner::logps(const TrainBatch& batch, std::stop_token stop) {
  at::set_num_threads(static_cast<int>(options_.config.threads));
  ranks_.begin();
  const int64_t most = options_.config.max_tokens_per_micro_batch;
  return ranks_.settle(shared_logps(ranks_, batch, most, false, [&](const TrainBatch& part) {
    return batch_logps(trained_.policy(), part, options_.temperature, most, options_.config.logits_chunk,
                       stop);
  }));
}

// Log-probs that were computed in advance are rank 0's.
Result<std::vector<float>> TorchLearner::reference_logps(const TrainBatch& batch,
                                                         const std::stop_token& stop) {
  const int64_t most = options_.config.max_tokens_per_micro_batch;
  Stopwatch watch;
  auto out = shared_logps(ranks_, batch, most, reference_->model() == nullptr, [&](const TrainBatch& part) {
    return reference_->logps(part, options_.temperature, most, options_.config.logits_chunk, stop);
  });
  reference_seconds_ += watch.lap();
  return out;
}

TensorMap TorchLearner::weights() const { return copy_parameters(trained_.policy()); }

Result<std::shared_ptr<const FlatWeights>> TorchLearner::rounded_weights() {
  at::set_num_threads(static_cast<int>(options_.config.threads));
  const kernels::FallbackCounts before = kernels::fallback_counts();
  auto out =
      catch_torch("publishing the weights", [&] { return published_.next(trained_.policy().parameters()); });
  publishing_ = fallbacks_since(before);
  return out;
}

LossPass TorchLearner::pass(bool old_is_current) {
  Models models = trained_.models();
  if (objective_->needs().divergence) models.reference = reference_->model();
  return {models, *objective_, forward_options(), ranks_, old_is_current};
}

// What the losses of a batch need: what the models say of it, then the objective's numbers.
Status TorchLearner::prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics,
                             const std::stop_token& stop) {
  TRY_DO(check_vocabulary(batch, trained_.policy().spec()));
  if (batch.num_targets() == 0) return invalid_argument("the batch has no completion token to learn from");
  Needs needs = objective_->needs();
  // From the second minibatch on the policy is another one.
  if (mini_batches()) needs.policy_logps = true;
  TRY_DO(fetch_old_outputs(trained_.models(), needs, forward_options(), ranks_, batch, stop));
  if (needs.reference_logps) {
    TRY(constant, reference_logps(batch, stop));
    batch.reference_logps = std::move(constant);
  }
  ranks_.begin();  // up to the exchange of the losses each rank is on its own
  return objective_->prepare(batch, state, metrics);
}

Result<Metrics> TorchLearner::measure(TrainBatch& batch, const std::stop_token& stop) {
  const at::NoGradGuard no_gradients;
  ObjectiveState unused = host_.objective;
  Metrics metrics;
  TRY_DO(prepare(batch, unused, metrics, stop));
  TRY(loss, accumulate(pass(true), batch, metrics, stop));
  TRY_DO(objective_->conclude(metrics));
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
  if (options_.num_iterations > 1 || mini_batches()) before = trained_.snapshot();
  const Status status = catch_torch("learner step", [&] { return run_updates(batch, next, metrics, stop); });
  if (!status.ok()) {
    if (before) trained_.restore(*before);
    return status;
  }
  TRY_DO(objective_->conclude(metrics));
  notes_.note_idle(host_.steps_done, metrics);
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
  TRY(moved, reference_logps(batch, {}));
  add_move_metrics(*reference_, batch, moved, metrics);
  return ok_status();
}

// The optimizer steps on one rollout batch: on all of it, or minibatch by minibatch in an order that is drawn
// anew for each iteration.
Status TorchLearner::run_updates(TrainBatch& batch, HostState& next, Metrics& metrics,
                                 const std::stop_token& stop) {
  if (mini_batches() && finite_where_trained(batch, batch.old_logps))
    TRY_DO(compare_before(batch, batch.old_logps, next, metrics));
  for (int64_t iteration = 0; iteration < options_.num_iterations; ++iteration) {
    if (!mini_batches()) {
      TRY_DO(update_once(batch, iteration == 0, next, metrics, stop));
      continue;
    }
    Rng order(options_.seed, Purpose::kMiniBatches,
              {static_cast<uint64_t>(host_.steps_done), static_cast<uint64_t>(iteration)});
    for (const std::vector<int64_t>& groups : deal_groups(batch, options_.num_mini_batches, order)) {
      TrainBatch part = gather(batch, groups);
      objective_->settle(part);
      TRY_DO(update_once(part, false, next, metrics, stop));
    }
  }
  return ok_status();
}

// One optimizer step. `first`: on the whole rollout batch and before any other, so that the pass also gives
// the old log-probs: the policy has not moved yet.
Status TorchLearner::update_once(TrainBatch& batch, bool first, HostState& next, Metrics& metrics,
                                 const std::stop_token& stop) {
  trained_.clear_gradients();
  TRY(loss, accumulate(pass(first), batch, metrics, stop));
  TRY_DO(trained_.sum_gradients(ranks_.group()));
  ranks_.begin();
  if (!loss.reference_logps.empty()) batch.reference_logps = std::move(loss.reference_logps);
  if (first && std::isfinite(loss.value)) TRY_DO(compare_before(batch, loss.logps, next, metrics));
  if (first && objective_->needs().old_logps && batch.old_logps.empty())
    batch.old_logps = std::move(loss.logps);
  return apply(loss, next, metrics);
}

// The policy before the update against those that drew and that hold it.
Status TorchLearner::compare_before(const TrainBatch& batch, std::span<const float> logps, HostState& next,
                                    Metrics& metrics) {
  if (host_.steps_done == 0)
    TRY_DO(check_first_step(batch, logps, trained_.policy(), reference_.get(), options_.config));
  add_sampling_difference(batch, logps, metrics);
  notes_.note_samples(host_.steps_done, metrics);
  if (reference_ != nullptr) add_reference_metrics(*reference_, batch, logps, next.objective, metrics);
  return ok_status();
}

// Clips and steps. The step is skipped if a number is not finite; and if there is no gradient at all (no
// spread of rewards, every row masked), where AdamW's momentum would go on moving the weights. What the
// gradients are is known only after the update, which a device has then not made.
Status TorchLearner::apply(const StepLoss& loss, HostState& next, Metrics& metrics) {
  add_metric(metrics, "learning_rate",
             scheduled_learning_rate(options_.config, next.steps_done, options_.max_steps));
  if (!std::isfinite(loss.value)) {
    TRY_DO(skip(loss.not_finite.empty() ? "the loss is not finite" : loss.not_finite, next));
    return agree_on_update();
  }
  TRY_DO(agree_on_update());
  const TrainedModels::Norms norms = trained_.update(next.steps_done, options_.max_steps);
  if (!norms.finite()) {
    Status skipped = skip("the gradient is not finite", next);
    if (!skipped.ok()) ranks_.begin();  // it is not finite on any rank: all tell each other
    return skipped;
  }
  next.skipped.note(false, options_.config.max_skipped_steps);
  add_metric(metrics, "loss", loss.value);
  add_metric(metrics, "grad_norm", norms.policy);
  if (trained_.has_critic()) add_metric(metrics, "critic/grad_norm", norms.critic);
  add_metric(metrics, "guards/zero_gradient", norms.zero() ? 1 : 0);
  return ok_status();
}

// Notes a step that is not taken. kDataLoss: there were too many of them.
Status TorchLearner::skip(const std::string& why, HostState& next) const {
  const std::string what = "step " + std::to_string(next.steps_done) + ": " + why;
  if (!next.skipped.note(true, options_.config.max_skipped_steps)) {
    log_warn(what + "; the step is skipped");
    return ok_status();
  }
  return data_loss(what + "; " + std::to_string(next.skipped.in_row) +
                   " such steps in a row (max_skipped_steps): lower learning_rate or look at the data; "
                   "none of them was taken");
}

// Each rank steps its own copy of the models, once all are ready to. The gradients are equal to the bit; here
// they see that the weights are too, as far as machines that may differ can tell.
Status TorchLearner::agree_on_update() {
  if (ranks_.alone()) return ok_status();
  const double norm = trained_.weight_norm();
  TRY(parts, ranks_.exchange({{"updates", trained_.updates()}, {"weights", norm}}, "the update"));
  for (size_t r = 1; r < parts.size(); ++r) {
    const double theirs = parts[r].at("weights").get<double>(), ours = parts[0].at("weights").get<double>();
    if (parts[r].at("updates") == parts[0].at("updates") && std::abs(theirs - ours) <= kSameNorm * ours)
      continue;
    return data_loss("step " + std::to_string(host_.steps_done) + ": rank " + std::to_string(r) +
                     " has other weights than rank 0 (" + dump_json(parts[r]) + ", rank 0 has " +
                     dump_json(parts[0]) + "); no step was taken");
  }
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

}  // namespace fulcrum
