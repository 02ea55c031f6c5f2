#include "engine/objective/f_dpg_z.h"

#include <algorithm>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kFields = 4;  // of an entry of the saved list: row, log sum, log sum of squares, count

PartitionSum sum_of(std::span<const double> log_weights) {
  PartitionSum out;
  out.add(log_weights);
  return out;
}

}  // namespace

Result<ZKind> parse_z(std::string_view name) {
  if (name == "running") return ZKind::kRunning;
  if (name == "per_batch") return ZKind::kPerBatch;
  if (name == "per_batch_leave_one_out") return ZKind::kPerBatchLeaveOneOut;
  return invalid_argument("z must be running, per_batch or per_batch_leave_one_out, not " + in_quotes(name));
}

double ZRule::bounded(double log_z) const {
  if (log_z == -generators::kInfinity && log_if_zero) return *log_if_zero;
  return std::min(log_z, log_max);
}

// The mean of the other weights; where these are all 0, of all of them: the one sample that found the target
// would otherwise have an infinite pseudo-reward.
double ZRule::without(std::span<const double> log_weights, size_t left_out) const {
  std::vector<double> others(log_weights.begin(), log_weights.end());
  others.erase(others.begin() + static_cast<std::ptrdiff_t>(left_out));
  const double log_z = sum_of(others).log_z();
  return bounded(log_z > -generators::kInfinity ? log_z : sum_of(log_weights).log_z());
}

std::vector<double> ZRule::operator()(std::span<const double> log_weights, const PartitionSum& so_far) const {
  std::vector<double> out(log_weights.size());
  for (size_t i = 0; i < out.size(); ++i) {
    switch (kind) {
      case ZKind::kRunning:
        out[i] = bounded(so_far.log_z());
        break;
      case ZKind::kPerBatch:
        out[i] = bounded(sum_of(log_weights).log_z());
        break;
      case ZKind::kPerBatchLeaveOneOut:
        out[i] = without(log_weights, i);
        break;
    }
  }
  return out;
}

ZBook::ZBook(const std::vector<double>& saved) {
  for (size_t i = 0; i + kFields <= saved.size(); i += kFields)
    sums_[static_cast<int64_t>(saved[i])] = {saved[i + 1], saved[i + 2], saved[i + 3]};
}

std::vector<double> ZBook::save() const {
  std::vector<double> out;
  for (const auto& [row, sum] : sums_)
    out.insert(out.end(), {static_cast<double>(row), sum.log_sum, sum.log_sum_squares, sum.count});
  return out;
}

}  // namespace fulcrum
