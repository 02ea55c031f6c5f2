// prompts -> rollouts -> rewards -> batch -> step -> publish -> record
#include "engine/core/stopwatch.h"
#include "engine/data/pack.h"
#include "engine/pipeline/generation.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/judged_step.h"

namespace fulcrum {
namespace {

// Exploration rows, then the stored samples that DPH-RL rehearses in this step.
TrainBatch pack_step(const BuiltJob& job, int64_t step, const JudgedStep& made) {
  BatchBuilder builder;
  add_groups(builder, made.groups, made.verdicts);
  // Without eta the stored samples are not even read: the run is the base objective's, bit for bit.
  if (job.rehearsal && job.config.objective.dph_eta > 0) {
    const auto seed = static_cast<uint64_t>(job.config.seed);
    for (const PresampledPrompt* p :
         job.rehearsal->samples(seed, step, job.config.presample.rehearsal_per_step)) {
      builder.begin_group(job.train.row(p->row).prompt.ids);
      builder.add_row(p->ids, {.prompt_row = p->row, .rehearsal = true}, {}, p->logps);
    }
  }
  return builder.take();
}

void add_sampling(Metrics& metrics, const JudgedStep& made) {
  add_metric(metrics, "dynamic_sampling/num_gen_batches", static_cast<double>(made.gen_batches));
  add_metric(metrics, "dynamic_sampling/trained_groups", static_cast<double>(made.groups.size()),
             static_cast<double>(made.drawn_groups));
}

void add_timing(Metrics& metrics, const JudgedStep& made) {
  const auto tokens = static_cast<double>(made.generated_tokens);
  add_metric(metrics, "timing_s/gen", made.generate_seconds);
  add_metric(metrics, "timing_s/reward", made.judge_seconds);
  add_metric(metrics, "perf/throughput", made.generate_seconds > 0 ? tokens / made.generate_seconds : 0);
}

// What workers fetched since the step before: the weights that generated this step.
void add_publishing(Metrics& metrics, const WeightPublisher& publisher, int64_t& before) {
  const std::optional<int64_t> now = publisher.bytes_sent();
  if (!now) return;
  add_metric(metrics, "perf/publish_bytes", static_cast<double>(*now - before));
  before = *now;
}

// What came from the learner's device for the version that was published last.
void add_reading(Metrics& metrics, const WeightSet& published) {
  if (published.flat != nullptr && published.flat->read_bytes > 0)
    add_metric(metrics, "perf/weights_read_bytes", static_cast<double>(published.flat->read_bytes));
}

}  // namespace

Status online_loop(BuiltJob& job) {
  const int64_t first = job.first_step, last = job.config.max_steps;
  Generation generation(
      [&](int64_t s, int64_t v, std::stop_token stop) { return make_step(job, s, v, stop); }, first, last,
      job.config.max_staleness);
  bool unscored_said = false;
  int64_t bytes_sent = job.backend.publisher->bytes_sent().value_or(0);
  TRY_DO(job.republish());
  TRY_DO(job.publish(first));
  generation.published(first);
  TRY_DO(finish_interrupted(job));
  for (int64_t s = first; s < last; ++s) {
    TRY_DO(job.control.point([&] { return save_point(job, s); }));  // pause and cancel take effect here
    TRY(made, generation.take(s, job.stop()));
    warn_unscored(s, made, unscored_said);
    TRY(metrics, job.learner->step(pack_step(job, s, made), job.stop()));
    add_timing(metrics, made);
    add_publishing(metrics, *job.backend.publisher, bytes_sent);
    if (job.config.dynamic_sampling != "off") add_sampling(metrics, made);
    job.unrecorded = std::move(metrics);
    Stopwatch watch;
    TRY_DO(job.publish(s + 1));
    add_metric(*job.unrecorded, "timing_s/update_weights", watch.lap());
    add_reading(*job.unrecorded, *job.history.versions().back());
    generation.published(s + 1);
    TRY_DO(job.journal->completions(s + 1, made.groups, made.verdicts));
    TRY_DO(finish_step(job, s + 1));
  }
  return ok_status();
}

}  // namespace fulcrum
