// How many cores this process may use: those that the scheduler lets it run on (affinity), fewer where a
// cgroup (v2, cpu.max) gives it less time. Threads beyond them only wait for each other and cost many times
// the work. Called wherever a number of threads comes from a user. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/files.h"

namespace fulcrum {

struct CoreLimit {
  int64_t cores = 1;    // at least 1
  std::string because;  // "the machine has 2 cores": what sets the limit
};

// Of the calling thread, whose children inherit it.
CoreLimit core_limit();
inline int64_t usable_cores() { return core_limit().cores; }

// `wanted` threads, or as many as there are usable cores, less the `taken` ones that run at the same time,
// and one at least; then a warning names `what` asked for them and what sets the limit.
int64_t within_cores(int64_t wanted, std::string_view what, int64_t taken = 0);

// What core_limit() is made of. The smallest limit; a part of a core counts as none, but one is always left.
CoreLimit tightest(int64_t machine, int64_t affinity, std::optional<double> quota);
// The cores that a cpu.max ("150000 100000": time in each period) gives; none for "max" and for what is not
// understood.
std::optional<double> quota_of(std::string_view cpu_max);
// The smallest cpu.max on the way from `root` down to `cgroup` (kernel_files.h).
std::optional<double> quota_under(const Path& root, const std::string& cgroup);

}  // namespace fulcrum
