#include "engine/objective/advantages.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

struct Spread {
  double mean = 0, std = 0;
  bool equal = true;
};

Spread spread_of(std::span<const double> r) {
  const auto [low, high] = std::minmax_element(r.begin(), r.end());
  if (r.empty() || *low == *high) return {r.empty() ? 0 : r[0], 0, true};
  const auto n = static_cast<double>(r.size());
  double shift = 0, squares = 0;
  for (double x : r) shift += x - r[0];
  const double mean = r[0] + shift / n;
  for (double x : r) squares += (x - mean) * (x - mean);
  return {mean, std::sqrt(squares / (n - 1)), false};
}

}  // namespace

Result<ScaleRewards> parse_scale_rewards(std::string_view name) {
  if (name == "group") return ScaleRewards::kGroup;
  if (name == "batch") return ScaleRewards::kBatch;
  if (name == "none") return ScaleRewards::kNone;
  return invalid_argument("scale_rewards must be group, batch or none, not " + in_quotes(name));
}

Advantages group_advantages(std::span<const std::optional<double>> rewards, std::span<const int64_t> group,
                            ScaleRewards scale, double epsilon) {
  Advantages out;
  out.values.assign(rewards.size(), 0.0);
  std::map<int64_t, std::vector<size_t>> members;
  std::vector<double> all;
  for (size_t i = 0; i < rewards.size(); ++i) {
    if (rewards[i].has_value() && std::isfinite(*rewards[i])) {
      members[group[i]].push_back(i);
      all.push_back(*rewards[i]);
    } else {
      ++out.missing;
    }
  }
  out.batch_std = spread_of(all).std;
  for (const auto& [id, rows] : members) {
    std::vector<double> r;
    for (size_t i : rows) r.push_back(*rewards[i]);
    const Spread s = spread_of(r);
    ++out.groups;
    out.single_groups += rows.size() == 1;
    out.zero_std_groups += s.equal;
    out.std_sum += s.std;
    if (s.equal) continue;
    const double divisor = scale == ScaleRewards::kNone
                               ? 1.0
                               : epsilon + (scale == ScaleRewards::kBatch ? out.batch_std : s.std);
    for (size_t i : rows) out.values[i] = (*rewards[i] - s.mean) / divisor;
  }
  return out;
}

}  // namespace fulcrum
