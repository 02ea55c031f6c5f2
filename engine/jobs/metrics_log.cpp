#include "engine/jobs/metrics_log.h"

#include <algorithm>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr uint64_t kMaxLogBytes = uint64_t{1} << 34;

struct Line {
  std::string text;  // as it stands in the file
  Json json;
};
using Lines = std::map<int64_t, Line>;

Path redo_file(const Path& log) { return Path(log.string() + ".redo"); }

bool measures_the_machine(std::string_view field) {
  return field.starts_with("timing_s/") || field.starts_with("perf/");
}

// Complete lines by step; what a kill tore or something else damaged is counted, never fatal.
Result<Lines> read_lines(const Path& file, int64_t& left_out) {
  Lines lines;
  const Result<std::string> text = read_file(file, kMaxLogBytes);
  if (!text.ok() && text.status().code() == Code::kNotFound) return lines;
  TRY_DO(text);
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = text->find('\n', begin);
    if (end == std::string::npos) {
      ++left_out;
      break;
    }
    std::string line = text->substr(begin, end - begin);
    begin = end + 1;
    const Result<Json> json = parse_json(line);
    const Result<int64_t> step = json.ok() ? get_int(*json, "step") : Result<int64_t>(json.status());
    if (!step.ok() || *step < 0 || !lines.try_emplace(*step, Line{std::move(line), json.value()}).second)
      ++left_out;
  }
  return lines;
}

std::string joined(Lines::const_iterator begin, Lines::const_iterator end) {
  std::string text;
  for (; begin != end; ++begin) text += begin->second.text + "\n";
  return text;
}

Status remove_if_there(const Path& file) {
  std::error_code error;
  std::filesystem::remove(file, error);
  return error ? from_errno(error.value(), "cannot remove", file) : ok_status();
}

std::string value_text(const Json& object, const std::string& field) {
  const auto it = object.find(field);
  return it == object.end() ? "absent" : dump_json(*it);
}

}  // namespace

std::string describe(const MetricDifference& d) {
  return "step " + std::to_string(d.step) + ": " + in_quotes(d.field) + " was " + printable(d.before, 60) +
         " and is now " + printable(d.after, 60) + ": the resumed run is not the run before it";
}

std::vector<MetricDifference> compare_metrics(int64_t step, const Json& before, const Json& after) {
  std::vector<MetricDifference> differences;
  const auto compare = [&](const std::string& field) {
    if (measures_the_machine(field)) return;
    // Numbers are written in the shortest form that reads back to the same bits, so equal texts are equal
    // bits.
    std::string old_value = value_text(before, field), new_value = value_text(after, field);
    if (old_value != new_value) {
      differences.push_back({step, field, std::move(old_value), std::move(new_value)});
    }
  };
  for (const auto& item : before.items()) compare(item.key());
  for (const auto& item : after.items()) {
    if (!before.contains(item.key())) compare(item.key());
  }
  return differences;
}

Result<MetricsLog> MetricsLog::open(const Path& file, int64_t last_step) {
  MetricsLog log(file);
  TRY(lines, read_lines(file, log.lines_left_out_));
  TRY(redo, read_lines(redo_file(file), log.lines_left_out_));
  const auto kept_end = lines.upper_bound(last_step);

  Lines again(kept_end, lines.end());
  again.insert(redo.upper_bound(last_step), redo.end());  // a step done twice already: the newer line stays
  if (again.empty()) {
    TRY_DO(remove_if_there(redo_file(file)));
  } else {
    TRY_DO(write_file_atomic(redo_file(file), joined(again.begin(), again.end())));
  }
  TRY_DO(write_file_atomic(file, joined(lines.begin(), kept_end)));

  if (kept_end != lines.begin()) log.last_step_ = std::prev(kept_end)->first;
  for (auto& [step, line] : again) log.redo_.emplace(step, std::move(line.json));
  return log;
}

Result<std::vector<MetricDifference>> MetricsLog::append(int64_t step, const Json& metrics) {
  if (step <= last_step_) {
    return failed_precondition("metrics of step " + std::to_string(step) + " cannot be added to " +
                               in_quotes(file_.string()) + ": it already reaches step " +
                               std::to_string(last_step_));
  }
  Json line{{"step", step}};
  line.update(metrics);
  line["step"] = step;
  TRY_DO(append_file(file_, dump_json(line) + "\n"));
  last_step_ = step;

  std::vector<MetricDifference> differences;
  if (const auto old = redo_.find(step); old != redo_.end())
    differences = compare_metrics(step, old->second, line);
  if (!redo_.empty()) {
    redo_.erase(redo_.begin(), redo_.upper_bound(step));
    if (redo_.empty()) TRY_DO(remove_if_there(redo_file(file_)));
  }
  return differences;
}

Status MetricsLog::sync() { return append_file(file_, "", /*durable=*/true); }

}  // namespace fulcrum
