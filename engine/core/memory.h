// Memory of this process and of the machine, as the kernel tells it. Called by `fulcrum plan`. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/files.h"

namespace fulcrum {

struct ProcessMemory {
  int64_t anonymous = 0, files = 0;  // bytes that are resident now: its own, and pages of mapped files
};
ProcessMemory process_memory();

struct FreeMemory {
  int64_t bytes = 0;
  std::string because;  // "of the machine", or which limit leaves less
};
FreeMemory free_memory();

// What they are made of. "Name:   123 kB" in /proc/meminfo and /proc/self/status, in bytes.
std::optional<int64_t> kilobytes_of(std::string_view text, std::string_view name);
// The least that a memory.max on the way from `root` down to `cgroup` (kernel_files.h) leaves.
std::optional<int64_t> left_under(const Path& root, const std::string& cgroup);

}  // namespace fulcrum
