#include "engine/pipeline/journal.h"

#include <cmath>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "policy/weights/safetensors.h"

namespace fulcrum {
namespace {

constexpr const char* kStateTensors = "fulcrum_state.safetensors";
constexpr const char* kStateHost = "fulcrum_state.json";
constexpr const char* kEpochFile = "epoch";

Json to_json(const Metrics& metrics) {
  Json out = Json::object();
  for (const auto& [name, m] : metrics) out[name] = m.mean();
  return out;
}

// The metric that decides the best checkpoint, and whether less of it is better.
std::pair<std::string, bool> best_rule(const JobConfig& config) {
  if (!config.eval.metric_for_best_model.empty()) return {config.eval.metric_for_best_model, config.eval.greater_is_better};
  return config.online() ? std::pair<std::string, bool>{"eval_reward", true} : std::pair<std::string, bool>{"eval_loss", false};
}

}  // namespace

Status write_learner_state(const Path& folder, const LearnerState& state) {
  TRY_DO(write_safetensors(folder / kStateTensors, state.tensors));
  return write_file_atomic(folder / kStateHost, dump_json(state.host, 1));
}

Result<LearnerState> read_learner_state(const Path& folder) {
  LearnerState state;
  TRY(tensors, read_safetensors(folder / kStateTensors));
  state.tensors = std::move(tensors.tensors);
  TRY(text, read_file(folder / kStateHost));
  Result<Json> host = parse_json(text);
  if (!host.ok()) return host.status().with_context(in_quotes((folder / kStateHost).string()));
  state.host = std::move(host).value();
  return state;
}

Result<std::unique_ptr<Journal>> Journal::open(const Path& run_folder, const JobConfig& config, JobControl& control) {
  TRY(folder, RunFolder::open(run_folder));
  TRY(old, folder->read_config());
  const std::string fingerprint = job_fingerprint(config);
  if (old && config.resume == "auto") {
    const Result<JobConfig> before = read_config<JobConfig>(*old);
    if (!before.ok() || job_fingerprint(*before) != fingerprint) {
      return failed_precondition("run folder " + in_quotes(run_folder.string()) +
                                 " belongs to a job with other settings; choose another output_dir");
    }
  }
  TRY(store, CheckpointStore::open(folder->checkpoints(), {.keep_last = config.save_total_limit, .build = FULCRUM_VERSION}));
  TRY_DO(folder->write_config(write_config(config)));
  if (config.resume == "never") {
    TRY(steps, store.steps());
    if (!steps.empty()) {
      return failed_precondition("run folder " + in_quotes(run_folder.string()) +
                                 " holds checkpoints and 'resume' is 'never'; choose another output_dir");
    }
  }
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

Result<int64_t> Journal::resume(Learner& learner) {
  int64_t step = 0;
  if (config_.resume == "auto") {
    std::vector<std::string> damaged;
    TRY(latest, store_.latest_complete(damaged));
    for (const std::string& line : damaged) {
      log_warn(line);
      TRY_DO(folder_->event(EventLevel::kWarn, "message", line));
    }
    if (latest) {
      step = latest->manifest.step;
      TRY(state, read_learner_state(latest->folder));
      if (Status s = learner.load(state); !s.ok()) return s.with_context(in_quotes(latest->folder.string()));
      last_checkpoint_ = step;
      TRY_DO(folder_->event(EventLevel::kInfo, "message", "resumed from checkpoint-" + std::to_string(step)));
    }
  }
  TRY_DO(folder_->resume_after(step));
  return step;
}

Status Journal::record(int64_t step, const Metrics& metrics) {
  const Json numbers = to_json(metrics);
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
      rows.push_back({{"step", step}, {"prompt", groups[g].prompt.text}, {"completion", c.text},
                      {"reward", v.score ? Json(*v.score) : Json(nullptr)}, {"verdict", verdict_name(v.kind)},
                      {"reason", v.reason}, {"finish_reason", finish_reason_name(c.finish)}});
    }
  }
  return folder_->completions(step, rows);
}

bool Journal::due(int64_t step) const {
  return step >= config_.max_steps || (config_.save_steps > 0 && step % config_.save_steps == 0);
}

Status Journal::checkpoint(int64_t step, const Learner& learner, const Tokenizer& tokenizer, const Metrics& metrics) {
  if (step <= last_checkpoint_) return ok_status();
  TRY(best, is_best(metrics));
  TRY_DO(folder_->sync());
  const Json facts = {{"trainer", config_.objective.trainer}, {"fingerprint", job_fingerprint(config_)},
                      {"tokenizer", tokenizer.content_hash()}, {"threads", config_.learner.threads}};
  TRY(written, store_.write(step, facts, [&](const Path& temporary) -> Status {
    Model model{.spec = learner.spec(), .tensors = learner.weights(), .folder = {}};
    TRY_DO(write_model(temporary, model, tokenizer.files()));
    return write_learner_state(temporary, learner.save());
  }));
  last_checkpoint_ = step;
  if (best) {
    const std::string name = best_rule(config_).first;
    TRY_DO(store_.mark_best({.step = step, .metric = name, .value = metrics.at(name).mean()}));
  }
  return folder_->event(EventLevel::kInfo, "checkpoint", "wrote " + written.folder.filename().string());
}

Result<bool> Journal::is_best(const Metrics& metrics) const {
  const auto [name, greater] = best_rule(config_);
  const auto it = metrics.find(name);
  if (it == metrics.end()) return false;
  TRY(best, store_.best());
  return !best || (greater ? it->second.mean() > best->value : it->second.mean() < best->value);
}

}  // namespace fulcrum
