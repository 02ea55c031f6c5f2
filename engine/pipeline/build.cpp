// Config and backends into objects. Everything a job needs is read and checked here, before the first step.
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/learner/leading_learner.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/make_learner.h"
#include "engine/pipeline/one_at_a_time.h"
#include "engine/reference/ingredient.h"
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

Result<Dataset> open_data(DatasetOptions options, const Tokenizer& tokenizer, const ModelSpec& spec) {
  options.context = spec.max_position_embeddings;
  TRY(data, Dataset::open(options, tokenizer, spec.vocab_size));
  if (data.dropped() > 0)
    log_warn(std::to_string(data.dropped()) + " rows were longer than allowed and were dropped");
  return data;
}

// On this rank, and at the same time on those that follow it.
Result<JobLearner> make_learner(const JobConfig& config, const Model& model,
                                const std::shared_ptr<Leader>& leader) {
  if (leader == nullptr) return make_job_learner(config, model, nullptr);
  const Json message = {{"do", command::kBegin}, {"config", dump_json(write_config(config))}};
  TRY(made, leader->lead(message, [&] { return make_job_learner(config, model, leader->group()); }));
  made.learner = std::make_unique<LeadingLearner>(std::move(made.learner), leader);
  return made;
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
                 .publisher = std::move(backend.publisher),
                 .on_device = backend.on_device};
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
  TRY(made, make_learner(config, model, backends.leader));
  job->learner = std::move(made.learner);
  job->cached_reference = made.cached_reference;
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
  *weights = {.version = version(step), .spec = learner->spec(), .tensors = {}};
  if (decode_dtype(config.sampling.rollout_dtype) == DType::kBF16) {
    TRY(flat, learner->rounded_weights());
    weights->tensors = flat->tensors;
    weights->flat = std::move(flat);
  } else {
    weights->tensors = learner->weights();
  }
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
