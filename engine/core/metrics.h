// Metrics as (sum, count), so that micro-batches and ranks are merged by adding both; the mean is taken once,
// when the step is recorded. Values, not thread-safe.
#pragma once

#include <map>
#include <string>

namespace fulcrum {

struct Metric {
  double sum = 0;
  double count = 0;
  double mean() const { return count > 0 ? sum / count : 0.0; }
};

using Metrics = std::map<std::string, Metric>;

inline void add_metric(Metrics& into, const std::string& name, double sum, double count = 1) {
  Metric& m = into[name];
  m.sum += sum;
  m.count += count;
}
inline void merge_metrics(Metrics& into, const Metrics& from) {
  for (const auto& [name, m] : from) add_metric(into, name, m.sum, m.count);
}

}  // namespace fulcrum
