// DAPO's soft penalty on completions near the length limit (arXiv 2503.14476, equation 13). Called by
// policy_gradient.cpp, which adds it to the rewards. Pure, torch-free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace fulcrum {

// The last `cache` of `max_length` tokens are punished in proportion, down to -factor at the limit.
struct SoftOverlong {
  int64_t max_length = 0;
  int64_t cache = 0;
  double factor = 1;
  bool bounded = true;  // false: goes on falling beyond the limit, as verl's does
};

// 0 if length <= max_length - cache, else -(length - (max_length - cache))/cache * factor, bounded at
// -factor.
inline double overlong_penalty(const SoftOverlong& rule, int64_t length) {
  const int64_t excess = length - (rule.max_length - rule.cache);
  if (excess <= 0) return 0;
  const int64_t counted = rule.bounded ? std::min(excess, rule.cache) : excess;
  if (rule.cache == 0) return -rule.factor;
  return -static_cast<double>(counted) / static_cast<double>(rule.cache) * rule.factor;
}

}  // namespace fulcrum
