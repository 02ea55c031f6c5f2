#include "engine/cli/engine/study/findings.h"

#include <algorithm>

#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

Json to_json(const Finding& f) {
  return {{"seed", f.seed}, {"model", f.model}, {"step", f.step}, {"values", f.values}};
}

Result<Finding> from_json(const Json& line) {
  Finding out;
  TRY(seed, get_int(line, "seed"));
  TRY(model, get_string(line, "model"));
  TRY(step, get_int(line, "step"));
  out.seed = seed;
  out.model = model;
  out.step = step;
  const auto values = line.find("values");
  if (values == line.end() || !values->is_object()) return data_loss("no values");
  for (const auto& [name, value] : values->items()) {
    if (value.is_number()) out.values[name] = value.get<double>();
  }
  return out;
}

}  // namespace

Result<Findings> Findings::open(const Path& file, const Json& study) {
  Findings out(file);
  const std::string head = dump_json({{"study", study}});
  if (!std::filesystem::exists(file)) {
    TRY_DO(write_file_atomic(file, head + "\n"));
    return out;
  }
  TRY(text, read_file(file));
  const std::vector<std::string> lines = split(text, '\n');
  if (lines.front() != head) {
    return failed_precondition(
        in_quotes(file.string()) +
        " holds the results of a study with other keys: give another --folder, or delete it");
  }
  std::string kept = head + "\n";
  for (size_t i = 1; i < lines.size(); ++i) {
    const auto json = parse_json(lines[i]);
    if (!json.ok()) continue;
    auto finding = from_json(*json);
    if (!finding.ok()) continue;
    out.all_.push_back(*std::move(finding));
    kept += lines[i] + "\n";
  }
  if (kept != text) TRY_DO(write_file_atomic(file, kept));
  return out;
}

bool Findings::has(uint64_t seed, const std::string& model, int64_t step) const {
  return std::any_of(all_.begin(), all_.end(), [&](const Finding& f) {
    return f.seed == static_cast<int64_t>(seed) && f.model == model && f.step == step;
  });
}

Status Findings::add(Finding finding) {
  TRY_DO(append_file(file_, dump_json(to_json(finding)) + "\n"));
  all_.push_back(std::move(finding));
  return ok_status();
}

Status add_run_metrics(const Path& run_folder, int64_t step, Values& values) {
  TRY(text, read_file(run_folder / "metrics.jsonl"));
  for (const std::string& line : split(text, '\n')) {
    const auto json = parse_json(line);
    if (!json.ok() || json->value("step", int64_t{-1}) != step) continue;
    for (const auto& [name, value] : json->items()) {
      if (name != "step" && value.is_number()) values.emplace(name, value.get<double>());
    }
  }
  return ok_status();
}

}  // namespace fulcrum::cli
