#include "engine/pipeline/dynamic_sampling.h"

#include <algorithm>
#include <map>
#include <set>

namespace fulcrum {

bool keeps_group(const GroupFilter& filter, std::span<const double> metric) {
  if (metric.empty()) return false;
  if (filter.rule == GroupFilter::Rule::kStdPositive) {
    const auto [low, high] = std::minmax_element(metric.begin(), metric.end());
    return metric.size() == 1 || *low < *high;
  }
  double sum = 0;
  for (const double value : metric) sum += value;
  const double mean = sum / static_cast<double>(metric.size());
  return filter.low < mean && mean < filter.high;
}

SampledGroups dynamic_sampling(const GroupFilter& filter, std::span<const double> metric,
                               std::span<const int64_t> group, int64_t group_size, int64_t target_groups) {
  std::map<int64_t, std::vector<double>> values;
  for (size_t i = 0; i < group.size(); ++i) values[group[i]].push_back(metric[i]);
  SampledGroups out;
  for (const auto& [id, members] : values) {
    if (keeps_group(filter, members)) out.groups.push_back(id);
  }
  const std::set<int64_t> kept(out.groups.begin(), out.groups.end());
  for (size_t i = 0; i < group.size(); ++i) {
    if (kept.contains(group[i])) out.rows.push_back(static_cast<int64_t>(i));
  }
  out.enough = std::ssize(out.groups) >= target_groups;
  if (out.enough)
    out.rows.resize(static_cast<size_t>(std::min<int64_t>(std::ssize(out.rows), target_groups * group_size)));
  return out;
}

}  // namespace fulcrum
