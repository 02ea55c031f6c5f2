// What the kernel tells in /proc and /sys, whose files do not say their size before they are read. Called by
// cores.cpp and memory.cpp. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/core/files.h"

namespace fulcrum {

// Where the tree of control groups (v2) is mounted.
inline constexpr const char* kCgroupRoot = "/sys/fs/cgroup";

// The whole file; empty if it cannot be read.
std::string read_kernel_file(const Path& path);

// The v2 path in /proc/self/cgroup ("0::/user.slice"); empty without one.
std::string cgroup_of(std::string_view proc_self_cgroup);

// `root`, then the folders on the way down to `cgroup`: a limit in any of them binds the process. (In a
// container the tree may begin below the process's own path: folders that are not there say nothing.)
void for_each_cgroup(const Path& root, const std::string& cgroup,
                     const std::function<void(const Path&)>& look);

}  // namespace fulcrum
