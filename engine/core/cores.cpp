#include "engine/core/cores.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <vector>

#include "engine/core/kernel_files.h"
#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

std::string count(int64_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

int64_t machine_cores() { return std::max<int64_t>(1, ::sysconf(_SC_NPROCESSORS_ONLN)); }

// Cores the calling thread may run on; the kernel refuses a mask smaller than its own.
int64_t affinity_cores(int64_t otherwise) {
  for (size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    const size_t bytes = sets * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
    if (errno != EINVAL) break;
  }
  return otherwise;
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<double> quota_of(std::string_view cpu_max) {
  const std::vector<std::string> words = split(trim(cpu_max), ' ');
  if (words.size() != 2) return std::nullopt;
  const auto time = number(words[0]), period = number(words[1]);
  if (!time || !period || !(*time > 0) || !(*period > 0)) return std::nullopt;
  return *time / *period;
}

std::optional<double> quota_under(const Path& root, const std::string& cgroup) {
  std::optional<double> least;
  for_each_cgroup(root, cgroup, [&](const Path& folder) {
    const auto quota = quota_of(read_kernel_file(folder / "cpu.max"));
    if (quota && (!least || *quota < *least)) least = quota;
  });
  return least;
}

CoreLimit tightest(int64_t machine, int64_t affinity, std::optional<double> quota) {
  CoreLimit out{machine, "the machine has " + count(machine, "core")};
  if (affinity < machine) {
    out = {affinity, "the process may run on " + count(affinity, "core") + " of " + std::to_string(machine) +
                         " (CPU affinity)"};
  }
  if (quota && *quota < static_cast<double>(out.cores)) {
    char text[80];
    std::snprintf(text, sizeof text, "the cgroup gives it the time of %.3g cores (cpu.max)", *quota);
    out = {static_cast<int64_t>(*quota), text};
  }
  out.cores = std::max<int64_t>(1, out.cores);
  return out;
}

CoreLimit core_limit() {
  const int64_t machine = machine_cores();
  return tightest(machine, affinity_cores(machine),
                  quota_under(kCgroupRoot, cgroup_of(read_kernel_file("/proc/self/cgroup"))));
}

int64_t within_cores(int64_t wanted, std::string_view what, int64_t taken) {
  const CoreLimit limit = core_limit();
  const int64_t most = std::max<int64_t>(1, limit.cores - taken);
  if (wanted <= most) return wanted;
  log_warn(std::string(what) + " asks for " + count(wanted, "thread") + ", but " + limit.because +
           (taken > 0 ? ", of which " + std::to_string(taken) + " are taken" : "") + ": using " +
           std::to_string(most));
  return most;
}

}  // namespace fulcrum
