#include "engine/pipeline/journal.h"

#include <cmath>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr const char* kEpochFile = "epoch";

// The metric that decides the best checkpoint, and whether less of it is better.
std::pair<std::string, bool> best_rule(const JobConfig& config) {
  if (!config.eval.metric_for_best_model.empty())
    return {config.eval.metric_for_best_model, config.eval.greater_is_better};
  return config.online() ? std::pair<std::string, bool>{"eval_reward", true}
                         : std::pair<std::string, bool>{"eval_loss", false};
}

// Which weights the policy is held to, for the checkpoint and the event log.
Json reference_facts(const Reference& reference) {
  return {{"origin", reference.origin()},
          {"version", reference.version()},
          {"content_hash", reference.content_hash()}};
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const Path& run_folder, const JobConfig& config,
                                               JobControl& control) {
  TRY(folder, RunFolder::open(run_folder));
  TRY(old, folder->read_config());
  const std::string fingerprint = job_fingerprint(config);
  if (old && config.resume == "auto") {
    const Result<JobConfig> before = read_config<JobConfig>(*old);
    if (!before.ok() || job_fingerprint(*before) != fingerprint) {
      const std::string key = before.ok() ? first_difference(config, *before) : std::string();
      return failed_precondition(
          "run folder " + in_quotes(run_folder.string()) + " belongs to a job with other settings" +
          (key.empty() ? "" : " ('" + key + "' differs)") + "; choose another output_dir");
    }
  }
  TRY(store, CheckpointStore::open(folder->checkpoints(),
                                   {.keep_last = config.save_total_limit, .build = FULCRUM_VERSION}));
  if (config.resume == "never") {
    TRY(steps, store.steps());
    if (!steps.empty()) {
      return failed_precondition("run folder " + in_quotes(run_folder.string()) +
                                 " holds checkpoints and 'resume' is 'never'; choose another output_dir");
    }
  }
  TRY_DO(folder->write_config(write_config(config)));
  std::unique_ptr<Journal> journal(new Journal(std::move(folder), std::move(store), config, control));
  TRY_DO(journal->begin_epoch());
  return journal;
}

Status Journal::begin_epoch() {
  const Path file = folder() / kEpochFile;
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    TRY(text, read_file(file, 64));
    epoch_ = std::atoll(text.c_str()) + 1;
  }
  return write_file_atomic(file, std::to_string(epoch_));
}

Result<int64_t> Journal::resume(const RunState& state) {
  int64_t step = 0;
  if (config_.resume == "auto") {
    std::vector<std::string> damaged;
    TRY(latest, store_.latest_complete(damaged));
    for (const std::string& line : damaged) log_warn(line);
    if (latest) {
      step = latest->manifest.step;
      TRY_DO(read_run_state(latest->folder, step, epoch_, state));
      TRY_DO(folder_->event(EventLevel::kInfo, "message", "resumed from checkpoint-" + std::to_string(step)));
    }
  }
  // A step that is still to be recorded does not count as kept: neither its line nor its checkpoint.
  const int64_t finished = state.unrecorded ? step - 1 : step;
  if (step > 0) last_checkpoint_ = finished;
  if (const Reference* reference = state.learner.reference()) {
    TRY_DO(folder_->event(EventLevel::kInfo, "reference", "the policy is held to " + reference->origin(),
                          reference_facts(*reference)));
  }
  TRY_DO(folder_->resume_after(finished));
  return step;
}

Status Journal::record(int64_t step, const Metrics& metrics) {
  const Json numbers = metrics_json(metrics);
  TRY(differences, folder_->metrics(step, numbers));
  if (differences > 0 && config_.deterministic) {
    log_warn("step " + std::to_string(step) + " was done again and " + std::to_string(differences) +
             " numbers differ; events.jsonl names them");
  }
  TRY_DO(control_.metrics(step, numbers));
  return control_.progress(step, config_.max_steps);
}

Status Journal::completions(int64_t step, std::span<const RolloutGroup> groups,
                            const std::vector<std::vector<Verdict>>& verdicts) {
  if (!config_.log_completions) return ok_status();
  std::vector<Json> rows;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].completions.size(); ++i) {
      const Completion& c = groups[g].completions[i];
      const Verdict& v = verdicts[g][i];
      rows.push_back({{"step", step},
                      {"prompt", groups[g].prompt.text},
                      {"completion", c.text},
                      {"reward", v.score ? Json(*v.score) : Json(nullptr)},
                      {"verdict", verdict_name(v.kind)},
                      {"reason", v.reason},
                      {"finish_reason", finish_reason_name(c.finish)}});
    }
  }
  return folder_->completions(step, rows);
}

Status Journal::warning(std::string_view message) {
  return folder_->event(EventLevel::kWarn, "message", message);
}

bool Journal::due(int64_t step) const {
  return step >= config_.max_steps || (config_.save_steps > 0 && step % config_.save_steps == 0);
}

Status Journal::checkpoint(int64_t step, const RunState& state, const Tokenizer& tokenizer,
                           const Metrics& metrics) {
  TRY(best, is_best(step, metrics));
  if (step > last_checkpoint_) TRY_DO(write_checkpoint(step, state, tokenizer));
  if (!best) return ok_status();
  const std::string name = best_rule(config_).first;
  return store_.mark_best({.step = step, .metric = name, .value = metrics.at(name).mean()});
}

Status Journal::write_checkpoint(int64_t step, const RunState& state, const Tokenizer& tokenizer) {
  TRY_DO(folder_->sync());
  Json facts = {{"trainer", config_.objective.trainer},
                {"fingerprint", job_fingerprint(config_)},
                {"tokenizer", tokenizer.content_hash()},
                {"threads", config_.learner.threads},
                {"base", state.base}};
  if (state.learner.reference() != nullptr) facts["reference"] = reference_facts(*state.learner.reference());
  TRY(written, store_.write(step, facts, [&](const Path& temporary) -> Status {
    Model model{.spec = state.learner.spec(), .tensors = state.learner.weights(), .folder = {}};
    TRY_DO(write_model(temporary, model, tokenizer.files()));
    return write_run_state(temporary, step, state);
  }));
  last_checkpoint_ = step;
  return folder_->event(EventLevel::kInfo, "checkpoint", "wrote " + written.folder.filename().string());
}

Result<bool> Journal::is_best(int64_t step, const Metrics& metrics) const {
  const auto [name, greater] = best_rule(config_);
  const auto it = metrics.find(name);
  if (it == metrics.end() || !std::isfinite(it->second.mean())) return false;
  TRY(best, store_.best());
  // One of this step or a later one was marked in a history that this run does again.
  if (!best || best->step >= step) return true;
  return greater ? it->second.mean() > best->value : it->second.mean() < best->value;
}

}  // namespace fulcrum
