#include "engine/objective/calibration.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace fulcrum {
namespace {

const std::string kBin = "rewards/calibration_bin/";

}  // namespace

void add_calibration(std::span<const double> confidence, std::span<const double> correct, int64_t bins,
                     Metrics& metrics) {
  for (size_t i = 0; i < confidence.size(); ++i) {
    const auto bin = std::min(static_cast<int64_t>(confidence[i] * static_cast<double>(bins)), bins - 1);
    add_metric(metrics, kBin + std::to_string(bin), confidence[i] - correct[i]);
  }
}

void conclude_calibration(Metrics& metrics) {
  const auto begin = metrics.lower_bound(kBin);
  auto end = begin;
  double error = 0, count = 0;
  for (; end != metrics.end() && end->first.starts_with(kBin); ++end) {
    error += std::abs(end->second.sum);
    count += end->second.count;
  }
  metrics.erase(begin, end);
  if (count > 0) metrics["rewards/ece"] = {error, count};
}

}  // namespace fulcrum
