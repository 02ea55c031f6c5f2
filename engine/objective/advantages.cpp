#include "engine/objective/advantages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

using By = ScaleRewards::By;
using Single = ScaleRewards::Single;

constexpr std::array kPresets = {
    std::pair{"group", ScaleRewards{}},
    std::pair{"batch", ScaleRewards{.by = By::kBatch}},
    std::pair{"none", ScaleRewards{.by = By::kNone}},
    // A population deviation and no epsilon, as the paper writes it.
    std::pair{"paper_population", ScaleRewards{.degrees_lost = 0, .epsilon = 0}},
    std::pair{"verl", ScaleRewards{.epsilon = 1e-6, .single = Single::kRaw}},
    std::pair{"verl_vectorized",
              ScaleRewards{.epsilon = 1e-6, .variance_floor = 1e-6, .single = Single::kRaw}},
    std::pair{"openrlhf", ScaleRewards{.epsilon = 1e-9, .single = Single::kNan}},
    std::pair{"oat", ScaleRewards{.epsilon = 1e-8, .single = Single::kNan}},
};

// The distances of some rewards from their mean, and how wide they are spread.
struct Spread {
  std::vector<double> distances;
  double variance = 0;
  bool equal = true;
};

Spread spread_of(std::span<const double> r, int degrees_lost) {
  Spread out{std::vector<double>(r.size(), 0.0)};
  if (r.empty()) return out;
  const auto [low, high] = std::minmax_element(r.begin(), r.end());
  if (*low == *high) return out;
  const auto n = static_cast<double>(r.size());
  double shift = 0, squares = 0;
  for (double x : r) shift += (x - r[0]) / n;
  for (size_t i = 0; i < r.size(); ++i) {
    out.distances[i] = (r[i] - r[0]) - shift;
    squares += out.distances[i] * out.distances[i];
  }
  out.variance = squares / (n - degrees_lost);
  out.equal = false;
  return out;
}

double single_value(Single single, double reward, double divisor) {
  if (single == Single::kRaw) return reward / divisor;
  return single == Single::kNan ? std::numeric_limits<double>::quiet_NaN() : 0;
}

// Calls `fill` with each group's rows (those that have a reward), their rewards and their spread.
using Fill = std::function<void(Advantages& out, const std::vector<size_t>& rows,
                                const std::vector<double>& rewards, const Spread& spread)>;
Advantages by_group(std::span<const std::optional<double>> rewards, std::span<const int64_t> group,
                    int degrees_lost, const Fill& fill) {
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
  out.batch_std = std::sqrt(spread_of(all, degrees_lost).variance);
  for (const auto& [id, rows] : members) {
    std::vector<double> r;
    for (size_t i : rows) r.push_back(*rewards[i]);
    const Spread spread = spread_of(r, degrees_lost);
    ++out.groups;
    out.single_groups += rows.size() == 1;
    out.zero_std_groups += spread.equal;
    out.std_sum += std::sqrt(spread.variance);
    fill(out, rows, r, spread);
  }
  return out;
}

}  // namespace

Result<ScaleRewards> parse_scale_rewards(std::string_view name) {
  for (const auto& [preset, scale] : kPresets) {
    if (name == preset) return scale;
  }
  return invalid_argument("unknown scale_rewards " + in_quotes(name) +
                          ": group, batch, none, or the preset of another library");
}

Advantages group_advantages(std::span<const std::optional<double>> rewards, std::span<const int64_t> group,
                            const ScaleRewards& scale) {
  return by_group(rewards, group, scale.degrees_lost,
                  [&](Advantages& out, const std::vector<size_t>& rows, const std::vector<double>& r,
                      const Spread& spread) {
                    const bool raw = scale.by == By::kNone;
                    if (rows.size() == 1) {
                      out.values[rows[0]] = single_value(scale.single, r[0], raw ? 1.0 : 1 + scale.epsilon);
                      return;
                    }
                    if (spread.equal) return;
                    const double std = scale.by == By::kBatch
                                           ? out.batch_std
                                           : std::sqrt(std::max(spread.variance, scale.variance_floor));
                    const double divisor = raw ? 1.0 : std + scale.epsilon;
                    for (size_t i = 0; i < rows.size(); ++i)
                      out.values[rows[i]] = spread.distances[i] / divisor;
                  });
}

Advantages leave_one_out_advantages(std::span<const std::optional<double>> rewards,
                                    std::span<const int64_t> group, ScaleRewards::Single single) {
  return by_group(rewards, group, 1,
                  [&](Advantages& out, const std::vector<size_t>& rows, const std::vector<double>& r,
                      const Spread& spread) {
                    const auto n = static_cast<double>(rows.size());
                    if (rows.size() == 1) {
                      out.values[rows[0]] = single_value(single, r[0], 1.0);
                      return;
                    }
                    for (size_t i = 0; i < rows.size(); ++i)
                      out.values[rows[i]] = spread.distances[i] * n / (n - 1);
                  });
}

}  // namespace fulcrum
