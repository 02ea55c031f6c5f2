// fulcrum-gpu-check: compares what a device computes with what the CPU does. Called by the pack that
// tools/gpu_check makes; one line a check on stdout, and the same as JSON for who wants to read it.
#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <thread>

#include "bench/gpu/checks.h"
#include "engine/core/json.h"
#include "policy/nn/device.h"
#include "rollout/generation_device.h"

namespace fulcrum::gpu_check {
namespace {

struct Options {
  std::string device = "cuda", group, json;
  bool small = false;
  int threads = 0;
};

const char* word(State state) {
  return state == State::kOk ? "ok" : state == State::kFailed ? "FAIL" : "left out";
}

void print(const Line& line) {
  if (line.state == State::kLeftOut) {
    std::printf("%-8s  %s: %s\n", word(line.state), line.name.c_str(), line.note.c_str());
  } else {
    std::printf("%-8s  %s: error %.2g, tolerance %.2g (%s)\n", word(line.state), line.name.c_str(),
                line.error, line.tolerance, line.note.c_str());
  }
  std::fflush(stdout);  // a device that hangs or a fault leaves what was said before
}

// JSON has no infinity.
Json number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json as_json(const std::string& group, const Line& line) {
  return {{"group", group},
          {"name", line.name},
          {"state", word(line.state)},
          {"error", number(line.error)},
          {"tolerance", line.tolerance},
          {"note", line.note}};
}

int list() {
  for (const CheckGroup& group : check_groups()) std::printf("%s\n", group.name);
  return 0;
}

// The first two of a kind; none where there is one alone, or on the CPU.
std::vector<at::Device> two_of(at::Device device) {
  if (device.is_cpu() || c10::impl::VirtualGuardImpl(device.type()).deviceCount() < 2) return {};
  return {at::Device(device.type(), 0), at::Device(device.type(), 1)};
}

int run(const Options& o) {
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  at::set_num_threads(o.threads > 0 ? o.threads : std::max(1, cores));
  const Result<at::Device> device = open_device(o.device);
  if (!device.ok()) {
    std::fprintf(stderr, "fulcrum-gpu-check: %s\n", device.status().message().c_str());
    return exit_code(device.status().code());
  }
  DeviceOptions generation;
  if (device->is_cuda()) {
    const Result<DeviceOptions> found = generation_device(o.device);
    if (found.ok()) {
      generation = *found;
    } else {  // its group says that there is none
      std::fprintf(stderr, "fulcrum-gpu-check: %s\n", found.status().message().c_str());
    }
  }
  std::ofstream json(o.json);
  int64_t lines = 0, failed = 0;
  for (const CheckGroup& group : check_groups()) {
    if (!o.group.empty() && o.group != group.name) continue;
    Checks checks([&](const Line& line) {
      print(line);
      if (!o.json.empty()) json << dump_json(as_json(group.name, line)) << std::endl;
    });
    group.run({*device, generation, o.small, two_of(*device)}, checks);
    lines += checks.lines();
    failed += checks.failed();
  }
  if (lines == 0) {
    std::fprintf(stderr, "fulcrum-gpu-check: there is no group '%s'\n", o.group.c_str());
    return 2;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fulcrum::gpu_check

int main(int argc, char** argv) {
  using namespace fulcrum::gpu_check;
  CLI::App app("Compares a device with the CPU.", "fulcrum-gpu-check");
  app.require_subcommand(1);
  CLI::App* groups = app.add_subcommand("groups", "the names of the groups");
  CLI::App* parity = app.add_subcommand("parity", "the checks; 1: one of them failed");
  Options options;
  parity->add_option("--device", options.device, "cuda, cpu, or LibTorch's name of a device")
      ->capture_default_str();
  parity->add_option("--group", options.group, "one group alone");
  parity->add_option("--json", options.json, "write a line of JSON for each check to this file");
  parity->add_option("--threads", options.threads, "of the CPU's side; 0: every core")->capture_default_str();
  parity->add_flag("--small", options.small, "small sizes");
  CLI11_PARSE(app, argc, argv);
  return groups->parsed() ? list() : run(options);
}
