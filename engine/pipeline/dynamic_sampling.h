// DAPO's dynamic sampling (arXiv 2503.14476, section 3.2): only prompts whose completions differ in
// correctness teach anything; the others are replaced by further prompts. Called by the online loop. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace fulcrum {

// Whether a group's metric says that it can be learnt from.
struct GroupFilter {
  // std_positive: the values differ (a group of one is kept, as in verl). mean_range: low < mean < high, as
  // in OpenRLHF.
  enum class Rule { kStdPositive, kMeanRange };
  Rule rule = Rule::kStdPositive;
  double low = 0, high = 1;  // of kMeanRange
};
bool keeps_group(const GroupFilter& filter, std::span<const double> metric);

// The groups kept, ascending, and their rows in input order: cut to the target if there are enough.
// `group[i]` names row i's group.
struct SampledGroups {
  std::vector<int64_t> groups;
  std::vector<int64_t> rows;
  bool enough = false;
};
SampledGroups dynamic_sampling(const GroupFilter& filter, std::span<const double> metric,
                               std::span<const int64_t> group, int64_t group_size, int64_t target_groups);

}  // namespace fulcrum
