#include "engine/jobs/run_folder.h"

#include <algorithm>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 26;

}  // namespace

Result<std::unique_ptr<RunFolder>> RunFolder::open(const Path& folder) {
  for (const char* part : {"tensorboard", "completions", "checkpoints"}) {
    if (const Status made = make_folders(folder / part); !made.ok())
      return Status(made.code(), "run folder: " + made.message() + "; choose one that can be written");
  }
  TRY(lock, FileLock::take(folder / ".lock"));
  std::unique_ptr<RunFolder> run(new RunFolder(folder, std::move(lock)));
  TRY_DO(run->find_last_event());
  return run;
}

// Events are numbered on from those of earlier starts; a line that a kill tore is closed, so that the next
// one begins on its own.
Status RunFolder::find_last_event() {
  const Path file = path_ / "events.jsonl";
  const Result<std::string> text = read_file(file);
  if (!text.ok()) return text.status().code() == Code::kNotFound ? ok_status() : text.status();
  last_event_ = std::count(text->begin(), text->end(), '\n');
  if (!text->empty() && text->back() != '\n') {
    TRY_DO(append_file(file, "\n"));
    ++last_event_;
  }
  return ok_status();
}

Status RunFolder::write_config(const Json& config) {
  return write_file_atomic(path_ / "config.json", dump_json(config, 2) + "\n");
}

Result<std::optional<Json>> RunFolder::read_config() const {
  const Path file = path_ / "config.json";
  const Result<std::string> text = read_file(file, kMaxConfigBytes);
  if (!text.ok() && text.status().code() == Code::kNotFound) return std::optional<Json>();
  TRY_DO(text);
  Result<Json> config = parse_json(*text);
  if (!config.ok()) return config.status().with_context(in_quotes(file.string()));
  return std::optional<Json>(std::move(config).value());
}

Status RunFolder::resume_after(int64_t last_step) {
  TRY(log, MetricsLog::open(path_ / "metrics.jsonl", last_step));
  TRY(board, TensorBoardLog::open(path_ / "tensorboard", last_step));
  const int64_t left_out = log.lines_left_out();
  metrics_.emplace(std::move(log));
  tensorboard_.emplace(std::move(board));
  if (left_out == 0) return ok_status();
  return event(EventLevel::kWarn, "message",
               "metrics.jsonl: " + std::to_string(left_out) + " damaged lines were left out");
}

Result<int64_t> RunFolder::metrics(int64_t step, const Json& values) {
  if (!metrics_)
    return failed_precondition("metrics were recorded before the run folder was told where it resumes");
  TRY(differences, metrics_->append(step, values));
  TRY_DO(tensorboard_->append(step, values));
  for (const MetricDifference& d : differences) {
    TRY_DO(event(EventLevel::kWarn, "message", describe(d),
                 Json{{"step", d.step}, {"field", d.field}, {"before", d.before}, {"after", d.after}}));
  }
  return static_cast<int64_t>(differences.size());
}

Status RunFolder::event(EventLevel level, std::string_view type, std::string_view message, Json data) {
  const Event event{last_event_ + 1,   unix_seconds(),       level,
                    std::string(type), std::string(message), std::move(data)};
  TRY_DO(append_file(path_ / "events.jsonl", dump_json(event_json(event)) + "\n"));
  ++last_event_;
  return ok_status();
}

Status RunFolder::completions(int64_t step, std::span<const Json> rows) {
  std::string text;
  for (const Json& row : rows) text += dump_json(row) + "\n";
  return write_file_atomic(path_ / "completions" / ("step_" + std::to_string(step) + ".jsonl"), text);
}

Status RunFolder::sync() {
  if (metrics_) TRY_DO(metrics_->sync());
  return append_file(path_ / "events.jsonl", "", /*durable=*/true);
}

}  // namespace fulcrum
