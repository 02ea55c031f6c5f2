#include "engine/pipeline/run_job.h"

#include <utility>

#include "engine/core/cores.h"
#include "engine/core/log.h"
#include "engine/core/stopwatch.h"
#include "engine/core/text.h"
#include "engine/data/pack.h"
#include "engine/pipeline/evaluate.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/job_warnings.h"
#include "engine/pipeline/memory_message.h"

namespace fulcrum {
namespace {

// Evaluation streams of training steps begin here, apart from those of the presample stage.
constexpr int64_t kFirstEvaluation = 1;

SamplingParams eval_sampling(const JobConfig& config) {
  SamplingParams params = config.sampling.params();
  params.temperature = config.eval.eval_temperature;
  return params;
}

Result<Metrics> evaluate_online(BuiltJob& job, int64_t step) {
  std::vector<Prompt> prompts;
  for (int64_t i = 0; i < job.validation->size(); ++i) prompts.push_back(job.validation->row(i).prompt);
  const EvalPlan plan{.seed = static_cast<uint64_t>(job.config.seed),
                      .step = kFirstEvaluation + step,
                      .num_generations = job.config.eval.eval_num_generations,
                      .k = job.config.eval.eval_k,
                      .sampling = eval_sampling(job.config),
                      .correct_reward = job.config.correct_from(),
                      .answer = answer_of(job.config.reward_funcs)};
  TRY(report, evaluate(*job.backend.rollouts, *job.rewards, prompts, job.version(step), plan, job.stop()));
  return report.metrics();
}

// The objective's own numbers on the validation rows, under eval_ names.
Result<Metrics> evaluate_offline(BuiltJob& job) {
  std::vector<const DataRow*> rows;
  for (int64_t i = 0; i < job.validation->size(); ++i) rows.push_back(&job.validation->row(i));
  TRY(measured, job.learner->evaluate(pack_rows(rows, job.config.rows()), job.stop()));
  Metrics out;
  for (const auto& [name, m] : measured) out["eval_" + name] = m;
  return out;
}

// A name that no evaluation gives would silently leave the best checkpoint unmarked.
Status check_best_metric(const JobConfig& config, const Metrics& evaluated) {
  const std::string& chosen = config.eval.metric_for_best_model;
  if (config.online() || chosen.empty() || evaluated.contains(chosen)) return ok_status();
  std::vector<std::string> names;
  for (const auto& [name, m] : evaluated) names.push_back(name);
  return invalid_argument("'metric_for_best_model' is " + in_quotes(chosen) + "; evaluation gives " +
                          join(names, ", "));
}

bool evaluation_due(const BuiltJob& job, int64_t step) {
  const int64_t every = job.config.eval.eval_steps;
  return every > 0 && job.validation.has_value() && (step % every == 0 || step == job.config.max_steps);
}

// Stopped in the middle of a step, or short of something that may come back (a judge, room on a disk): the
// learner stands at the end of the last step it did; keep that, and say in the run folder why it ends.
Status end_early(BuiltJob& job, Status status) {
  const bool stopped = !job.control.stop_reason().ok();
  if (stopped) status = job.control.stop_reason();
  const int64_t done = job.learner->steps_done();
  if (done > job.first_step && (stopped || status.code() == Code::kResourceExhausted)) {
    const Status saved = save_point(job, done);
    if (!saved.ok() && stopped) status = saved.with_context("stopped, and the checkpoint failed");
  }
  static_cast<void>(job.journal->warning("the run ends here: " + status.message()));
  return status;
}

}  // namespace

Status finish_step(BuiltJob& job, int64_t step) {
  Metrics metrics = job.unrecorded.value_or(Metrics{});
  Stopwatch watch;
  if (evaluation_due(job, step)) {
    TRY(evaluated, job.config.online() ? evaluate_online(job, step) : evaluate_offline(job));
    TRY_DO(check_best_metric(job.config, evaluated));
    merge_metrics(metrics, evaluated);
    add_metric(metrics, "timing_s/testing", watch.lap());
  }
  TRY_DO(job.journal->record(step, metrics));
  job.unrecorded.reset();
  TRY(best, job.journal->is_best(step, metrics));
  if (best || job.journal->due(step))
    TRY_DO(job.journal->checkpoint(step, job.state(), *job.tokenizer, metrics));
  return ok_status();
}

Status finish_interrupted(BuiltJob& job) {
  return job.unrecorded ? finish_step(job, job.first_step) : ok_status();
}

Status save_point(BuiltJob& job, int64_t step) {
  return job.journal->checkpoint(step, job.state(), *job.tokenizer, {});
}

Status run_job(const JobConfig& asked, const Path& run_folder, const Backends& backends,
               JobControl& control) {
  JobWarnings warnings(control);
  JobConfig config = asked;
  // Before anything notes the key: the number decides bits, and what is resumed must have run with the same
  // one.
  config.learner.threads = within_cores(config.learner.threads, "'threads'");
  auto built = build_job(config, run_folder, backends, control);
  if (!built.ok()) return with_plan(built.status(), config, nullptr);
  const std::unique_ptr<BuiltJob> job = std::move(built).value();
  warnings.attach(*job->journal);
  TRY_DO(control.progress(job->first_step, config.max_steps));
  Status status = ok_status();
  if (config.objective.trainer == "dph_rl") status = presample(*job);
  if (status.ok() && job->cached_reference != nullptr) status = precompute_reference(*job);
  if (status.ok() && config.objective.trainer == "f_dpg") status = fit_target(*job);
  if (status.ok()) status = config.online() ? online_loop(*job) : offline_loop(*job);
  return status.ok() ? status : end_early(*job, with_plan(std::move(status), config, job.get()));
}

Path final_checkpoint(const Path& run_folder, const JobConfig& config) {
  return run_folder / "checkpoints" / ("checkpoint-" + std::to_string(config.max_steps));
}

}  // namespace fulcrum
