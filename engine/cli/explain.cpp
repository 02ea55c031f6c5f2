// `fulcrum explain NAME`: what a metric is, which way is good, and what is healthy (metrics.def); eval_NAME
// is NAME on val_files unless it has an entry of its own.
#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

struct MetricInfo {
  const char* name;
  const char* formula;
  const char* healthy;
};

constexpr std::array kMetrics = {
#define FULCRUM_METRIC(name, formula, healthy) MetricInfo{name, formula, healthy},
#include "engine/cli/metrics.def"
#undef FULCRUM_METRIC
};

struct ExplainOptions {
  std::string name;
  std::string format = "table";
};

// Whether `entry` of the table is about the metric `name`.
bool describes(std::string_view entry, std::string_view name) {
  if (const size_t star = entry.find('*'); star != std::string_view::npos) {
    const std::string_view begin = entry.substr(0, star), end = entry.substr(star + 1);
    return name.size() >= begin.size() + end.size() && name.starts_with(begin) && name.ends_with(end);
  }
  if (entry.ends_with("@k") && name.starts_with(entry.substr(0, entry.size() - 1))) {
    const std::string_view k = name.substr(entry.size() - 1);
    return k == "k" || (!k.empty() && k.find_first_not_of("0123456789") == std::string_view::npos);
  }
  return entry == name;
}

const MetricInfo* find_metric(std::string_view name) {
  constexpr std::string_view kEval = "eval_";
  const auto found = std::find_if(kMetrics.begin(), kMetrics.end(),
                                  [&](const MetricInfo& m) { return describes(m.name, name); });
  if (found != kMetrics.end()) return &*found;
  return name.starts_with(kEval) ? find_metric(name.substr(kEval.size())) : nullptr;
}

int explain(const ExplainOptions& o) {
  Table table{{"metric", "what it is", "healthy"}, {}};
  std::vector<std::string> names;
  for (const MetricInfo& m : kMetrics) {
    names.emplace_back(m.name);
    if (o.name.empty() || find_metric(o.name) == &m) {
      table.rows.push_back({{"metric", m.name}, {"what it is", m.formula}, {"healthy", m.healthy}});
    }
  }
  if (table.rows.empty()) {
    const std::string near = nearest_name(o.name, names);
    return report(not_found(
        "no metric is called " + in_quotes(o.name) +
        (near.empty() ? "; `fulcrum explain` lists them" : "; did you mean " + in_quotes(near) + "?")));
  }
  if (o.name.empty() || o.format != "table") {
    std::fputs(render(table, o.format).c_str(), stdout);
  } else {
    const Json& row = table.rows.front();
    std::printf("%s\n  is       %s\n  healthy  %s\n", row["metric"].get<std::string>().c_str(),
                row["what it is"].get<std::string>().c_str(), row["healthy"].get<std::string>().c_str());
  }
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  add_verb<ExplainOptions>(app, action, "explain",
                           "what a metric is and what is healthy; all metrics without an argument", explain,
                           [](CLI::App& v, ExplainOptions& o) {
                             v.add_option("metric", o.name, "the metric's name");
                             add_output_option(v, o.format);
                           });
}

}  // namespace fulcrum::cli
