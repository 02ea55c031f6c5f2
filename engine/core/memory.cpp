#include "engine/core/memory.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "engine/core/kernel_files.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end != text.data() ? std::optional(value) : std::nullopt;
}

}  // namespace

std::optional<int64_t> kilobytes_of(std::string_view text, std::string_view name) {
  for (const std::string& line : split(text, '\n')) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    const auto value = whole_number(trim(std::string_view(line).substr(name.size() + 1)));
    return value ? std::optional(*value * 1024) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<int64_t> left_under(const Path& root, const std::string& cgroup) {
  std::optional<int64_t> least;
  for_each_cgroup(root, cgroup, [&](const Path& folder) {
    const auto limit = whole_number(read_kernel_file(folder / "memory.max"));
    const auto used = whole_number(read_kernel_file(folder / "memory.current"));
    if (!limit || !used) return;
    const int64_t left = std::max<int64_t>(0, *limit - *used);
    if (!least || left < *least) least = left;
  });
  return least;
}

ProcessMemory process_memory() {
  const std::string status = read_kernel_file("/proc/self/status");
  return {kilobytes_of(status, "RssAnon").value_or(0),
          kilobytes_of(status, "RssFile").value_or(0) + kilobytes_of(status, "RssShmem").value_or(0)};
}

FreeMemory free_memory() {
  FreeMemory out{kilobytes_of(read_kernel_file("/proc/meminfo"), "MemAvailable")
                     .value_or(std::numeric_limits<int64_t>::max()),
                 "of the machine"};
  const auto left = left_under(kCgroupRoot, cgroup_of(read_kernel_file("/proc/self/cgroup")));
  if (left && *left < out.bytes) out = {*left, "left by the cgroup (memory.max)"};
  return out;
}

}  // namespace fulcrum
