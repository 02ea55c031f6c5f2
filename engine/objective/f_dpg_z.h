// The partition function of every prompt as f-DPG's objective needs it: one estimate a sample, from the
// weights of this step or of all steps so far. Called by f_dpg.cpp in prepare(). One thread, torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/status.h"
#include "engine/objective/f_dpg_partition.h"

namespace fulcrum {

enum class ZKind { kRunning, kPerBatch, kPerBatchLeaveOneOut };
Result<ZKind> parse_z(std::string_view name);

struct ZRule {
  ZKind kind = ZKind::kRunning;
  double log_max = generators::kInfinity;  // alpha-DPG: 0, since Z is the share of a that satisfies a filter
  std::optional<double> log_if_zero;  // alpha-DPG: log 1e-4; absent: a context without weight teaches nothing

  // The estimate for each sample of one context; -inf: no sample has had weight. `so_far` is read by kRunning
  // only.
  std::vector<double> operator()(std::span<const double> log_weights, const PartitionSum& so_far) const;
  double bounded(double log_z) const;

 private:
  double without(std::span<const double> log_weights, size_t left_out) const;
};

// The running sums by prompt row, in and out of ObjectiveState's flat lists.
class ZBook {
 public:
  explicit ZBook(const std::vector<double>& saved);
  std::vector<double> save() const;

  PartitionSum& operator[](int64_t prompt_row) { return sums_[prompt_row]; }

 private:
  std::map<int64_t, PartitionSum> sums_;
};

}  // namespace fulcrum
