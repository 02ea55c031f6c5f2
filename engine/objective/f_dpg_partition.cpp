#include "engine/objective/f_dpg_partition.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace fulcrum {
namespace {

double log_add_exp(double a, double b) { return log_sum_exp(std::array{a, b}); }

}  // namespace

double log_sum_exp(std::span<const double> x) {
  const auto largest = std::max_element(x.begin(), x.end());
  if (largest == x.end() || std::isinf(*largest))
    return largest == x.end() ? -generators::kInfinity : *largest;
  double sum = 0;
  for (const double each : x) sum += std::exp(each - *largest);
  return *largest + std::log(sum);
}

void PartitionSum::add(std::span<const double> log_weights) {
  std::vector<double> squares;
  for (const double w : log_weights) squares.push_back(2 * w);
  log_sum = log_add_exp(log_sum, log_sum_exp(log_weights));
  log_sum_squares = log_add_exp(log_sum_squares, log_sum_exp(squares));
  count += static_cast<double>(log_weights.size());
}

double PartitionSum::log_z() const { return std::isinf(log_sum) ? log_sum : log_sum - std::log(count); }

double PartitionSum::log_ess() const { return std::isinf(log_sum) ? log_sum : 2 * log_sum - log_sum_squares; }

}  // namespace fulcrum
