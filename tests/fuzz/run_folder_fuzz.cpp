// A run folder that is opened again: config.json, events.jsonl, metrics.jsonl and what a resume had set aside
// of it.
#include <algorithm>
#include <array>

#include "engine/jobs/metrics_log.h"
#include "engine/jobs/run_folder.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check_metrics(const Scratch& scratch, std::string_view log, std::string_view redo, int64_t last_step) {
  scratch.put("m/metrics.jsonl", log);
  scratch.put("m/metrics.jsonl.redo", redo);
  auto opened = MetricsLog::open(scratch.path("m/metrics.jsonl"), last_step);
  LAW(good(opened));
  LAW(opened->last_step() >= -1 && opened->last_step() <= last_step);
  // What damage there was is gone: opened again, it is as it was left.
  const auto again = MetricsLog::open(scratch.path("m/metrics.jsonl"), last_step);
  LAW(good(again));
  LAW(again->lines_left_out() == 0 && again->last_step() == opened->last_step());
  if (opened->last_step() == INT64_MAX) return;
  const int64_t next = opened->last_step() + 1;
  LAW(good(opened->append(next, Json{{"loss", 0.5}})));
  LAW(!opened->append(next, Json{{"loss", 0.5}}).ok());
}

void check(std::string_view input) {
  const auto parts = split_parts(input, 4);
  const Scratch scratch;
  for (const int64_t last_step : std::array<int64_t, 4>{-1, 0, 3, INT64_MAX})
    check_metrics(scratch, parts[2], parts[3], last_step);

  scratch.put("run/config.json", parts[0]);
  scratch.put("run/events.jsonl", parts[1]);
  scratch.put("run/metrics.jsonl", parts[2]);
  const auto run = RunFolder::open(scratch.path("run"));
  LAW(good(run));
  const auto config = (*run)->read_config();
  if (good(config)) LAW(config->has_value());
  LAW((*run)->resume_after(0).ok());
  LAW((*run)->event(EventLevel::kInfo, "message", "here").ok());
  const std::string events = scratch.get("run/events.jsonl");
  LAW(events.starts_with(parts[1]));
  const auto lines = std::count(events.begin(), events.end(), '\n');
  LAW(events.find("\n{\"id\":\"" + numbered_name("event", lines) + "\"") != std::string::npos || lines == 1);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
