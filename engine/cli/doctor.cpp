// `fulcrum doctor`: what this machine and this build are, and what would go wrong.
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/cores.h"
#include "engine/core/files.h"
#include "engine/kernels/device/driver.h"
#include "engine/kernels/device/plugin.h"
#include "engine/kernels/simd.h"
#include "rollout/fingerprint.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string folder = ".", format = "table";
};

struct Check {
  std::string name, state, value;
};

Check engine_check() {
  std::error_code error;
  const Path engine = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "fulcrum-engine";
  const bool there = ::access(engine.c_str(), X_OK) == 0;
  return {"engine", there ? "ok" : "error",
          there ? engine.string() : engine.string() + " is missing: run ./dev build"};
}

Check disk_check(const std::string& folder) {
  struct statvfs s {};
  if (::statvfs(folder.c_str(), &s) != 0) return {"disk", "error", "cannot look at " + folder};
  const double gib = static_cast<double>(s.f_bavail) * static_cast<double>(s.f_frsize) / (1 << 30);
  char text[64];
  std::snprintf(text, sizeof text, "%.1f GiB free", gib);
  return {"disk", gib < 1 ? "warning" : "ok", text};
}

Check memory_check() {
  const double gib = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(::sysconf(_SC_PAGE_SIZE)) / (1 << 30);
  char text[64];
  std::snprintf(text, sizeof text, "%.1f GiB", gib);
  return {"memory", gib < 2 ? "warning" : "ok", text};
}

Check files_check() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return {"open files", limit.rlim_max < 4096 ? "warning" : "ok", "limit " + std::to_string(limit.rlim_max)};
}

// What models would learn on. Nothing of it is needed: without a GPU they learn on the CPU.
void add_gpu_checks(std::vector<Check>& checks) {
  if (!kernels::has_driver()) {
    checks.push_back({"gpu", "ok", "none: no NVIDIA driver; models learn on the CPU"});
    return;
  }
  const Result<kernels::Driver> driver = kernels::read_driver();
  if (!driver.ok()) {
    checks.push_back({"gpu", "warning", driver.status().message()});
    return;
  }
  for (size_t i = 0; i < driver->gpus.size(); ++i) {
    const kernels::Gpu& gpu = driver->gpus[i];
    char memory[32];
    std::snprintf(memory, sizeof memory, "%.1f GiB", static_cast<double>(gpu.memory) / (1 << 30));
    checks.push_back({"gpu " + std::to_string(i), gpu.usable() ? "ok" : "warning",
                      gpu.name + ", " + memory + ", compute capability " +
                          kernels::capability_text(gpu.capability) +
                          (gpu.usable() ? "" : ": this build needs 8.0")});
  }
  if (const Result<kernels::OwnGpu> own = kernels::own_gpu(); !own.ok()) {
    checks.push_back({"gpu", "warning", own.status().message() + "; models learn on the CPU"});
    return;
  }
  const Result<const kernels::CudaPlugin*> plugin = kernels::open_plugin(kernels::plugin_path());
  checks.push_back({"gpu kernels", plugin.ok() ? "ok" : "warning",
                    plugin.ok() ? kernels::plugin_path().string() : plugin.status().message()});
}

Check decoder_check() {
  if (!kernels::is_emulated()) return {"decoder", "ok", describe_decoder(1)};
  return {"decoder", "warning",
          "this CPU has no AVX2: kernels are emulated, many times slower; " + describe_decoder(1)};
}

int run(const Options& o) {
  const CoreLimit cores = core_limit();
  std::vector<Check> checks = {
      {"version", "ok", FULCRUM_VERSION},
      decoder_check(),
      {"fingerprint", "ok", numeric_fingerprint()},
      {"fingerprint in bf16", "ok", numeric_fingerprint(DType::kBF16)},
      {"usable cores", "ok", std::to_string(cores.cores) + ": " + cores.because},
      memory_check(),
      disk_check(o.folder),
      files_check(),
      engine_check(),
  };
  add_gpu_checks(checks);
  Table table{{"check", "state", "value"}, {}, 1000};  // the remedy stands at the end
  bool fine = true;
  for (const Check& c : checks) {
    fine = fine && c.state != "error";
    table.rows.push_back({{"check", c.name}, {"state", c.state}, {"value", c.value}});
  }
  std::fputs(render(table, o.format).c_str(), stdout);
  return fine ? 0 : 4;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  add_verb<Options>(app, action, "doctor", "check this machine and this build", run,
                    [](CLI::App& v, Options& o) {
                      v.add_option("--folder", o.folder, "where runs will be written")->capture_default_str();
                      add_output_option(v, o.format);
                    });
}

}  // namespace fulcrum::cli
