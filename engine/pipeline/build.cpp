// Config and backends into objects. Everything a job needs is read and checked here, before the first step.
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/objective/objective.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/one_at_a_time.h"
#include "engine/reference/ingredient.h"
#include "engine/reference/reference.h"
#include "policy/text/model_tokenizer.h"
#include "reward/model/model_reward.h"

namespace fulcrum {
namespace {

DatasetOptions validation_data(const JobConfig& config) {
  DatasetOptions out = train_data(config);
  out.files = config.data.val_files;
  out.shuffle = false;
  return out;
}

Result<Dataset> open_data(const DatasetOptions& options, const Tokenizer& tokenizer, const ModelSpec& spec) {
  TRY(data, Dataset::open(options, tokenizer, spec.vocab_size));
  if (data.dropped() > 0)
    log_warn(std::to_string(data.dropped()) + " rows were longer than allowed and were dropped");
  return data;
}

// What the objective compares with; null if with nothing.
Result<std::unique_ptr<Reference>> make_job_reference(BuiltJob& job, const Needs& needs, const Model& model) {
  const JobConfig& config = job.config;
  if (!needs.reference_logps && !needs.divergence) return std::unique_ptr<Reference>();
  if (config.reference.precompute_ref_log_probs) {
    TRY(hash, reference_content_hash(config.reference, model));
    auto cached = std::make_unique<CachedReference>(hash, !config.reference.ref_soup.empty());
    job.cached_reference = cached.get();
    return std::unique_ptr<Reference>(std::move(cached));
  }
  return make_reference(config.reference, model, reference_options(config.learner));
}

Result<std::unique_ptr<Learner>> make_learner(BuiltJob& job, const Model& model) {
  const JobConfig& config = job.config;
  TRY(objective, make_objective(config.objective));
  TRY(reference, make_job_reference(job, objective->needs(), model));
  const LearnerOptions options{.config = config.learner,
                               .max_steps = config.max_steps,
                               .num_iterations = config.objective.num_iterations,
                               .num_mini_batches = config.objective.num_mini_batches,
                               .temperature = config.online() ? config.sampling.temperature : 1.0,
                               .seed = static_cast<uint64_t>(config.seed)};
  const Model start = objective->needs().scores ? as_score_model(model) : model;
  return Learner::create(start, options, std::move(objective), std::move(reference));
}

Status attach_rollouts(BuiltJob& job, const Backends& backends) {
  const int64_t wanted = job.config.sampling.max_completion_length;
  const int64_t positions = job.learner->spec().max_position_embeddings;
  if (wanted > positions) {
    log_warn("max_completion_length " + std::to_string(wanted) + " is beyond the model's " +
             std::to_string(positions) + " positions: completions end there");
  }
  if (job.config.sampling.rollout_dtype != job.config.learner.dtype) {
    log_warn("'rollout_dtype' is " + job.config.sampling.rollout_dtype + " and 'dtype' " +
             job.config.learner.dtype +
             ": tokens are drawn by weights rounded otherwise than the learner's; "
             "sampling/sampling_logp_difference shows how far they are apart");
  }
  TRY(judge, make_rewards(job.config.reward_funcs, backends.reward_service, make_model_reward));
  const auto deadline =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(job.config.reward_timeout_s));
  job.rewards = std::make_unique<RewardPool>(
      std::move(judge),
      RewardPoolOptions{.threads = static_cast<int>(job.config.reward_threads), .deadline = deadline});
  TRY(backend, backends.rollouts(job.config, job.learner->spec(), job.tokenizer));
  job.backend = {.rollouts = std::make_shared<OneAtATime>(std::move(backend.rollouts)),
                 .publisher = std::move(backend.publisher)};
  return ok_status();
}

}  // namespace

DatasetOptions train_data(const JobConfig& config) {
  return {.files = config.data.train_files,
          .format = config.rows(),
          .max_prompt_length = config.data.max_prompt_length,
          .max_length = config.data.max_length,
          .drop_overlong = config.data.overlong_rows == "drop",
          .shuffle = config.data.shuffle,
          .seed = static_cast<uint64_t>(config.seed)};
}

PolicyOptions reference_options(const LearnerConfig& config) {
  return {.dtype = config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat};
}

Result<std::unique_ptr<BuiltJob>> build_job(const JobConfig& config, const Path& run_folder,
                                            const Backends& backends, JobControl& control) {
  TRY(model, load_model(config.model_name_or_path));
  TRY(tokenizer, load_tokenizer_of(model, config.tokenizer, {.splitter = config.splitter}));
  TRY(train, open_data(train_data(config), *tokenizer, model.spec));
  std::unique_ptr<BuiltJob> job(new BuiltJob{.config = config,
                                             .control = control,
                                             .tokenizer = tokenizer,
                                             .train = std::move(train),
                                             .history = WeightHistory(config.max_staleness)});
  if (!config.data.val_files.empty()) {
    TRY(validation, open_data(validation_data(config), *tokenizer, model.spec));
    job->validation = std::move(validation);
  }
  TRY(learner, make_learner(*job, model));
  job->learner = std::move(learner);
  job->base = base_of(model);
  if (config.online()) TRY_DO(attach_rollouts(*job, backends));
  // Last, so that a job that cannot start leaves no run folder behind.
  TRY(journal, Journal::open(run_folder, config, control));
  job->journal = std::move(journal);
  TRY(first, job->journal->resume(job->state()));
  if (first > config.max_steps) {
    return failed_precondition("the run folder's last checkpoint is of step " + std::to_string(first) +
                               ", beyond 'max_steps' " + std::to_string(config.max_steps));
  }
  job->first_step = first;
  return job;
}

Status BuiltJob::publish(int64_t step) {
  auto weights = std::make_shared<WeightSet>();
  *weights = {.version = version(step), .spec = learner->spec(), .tensors = learner->weights()};
  history.add(weights);
  return backend.publisher->publish(std::move(weights));
}

Status BuiltJob::republish() {
  for (const auto& weights : history.versions()) TRY_DO(backend.publisher->publish(weights));
  return ok_status();
}

RolloutRequest BuiltJob::request(const Prompt& prompt, int64_t step, int64_t index) const {
  return {.seed = static_cast<uint64_t>(config.seed),
          .evaluation = false,
          .step = step,
          .index = index,
          .prompt = prompt,
          .num_generations = config.sampling.num_generations,
          .sampling = config.sampling.params()};
}

}  // namespace fulcrum
