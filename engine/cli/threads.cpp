#include "engine/cli/threads.h"

#include "engine/core/cores.h"

namespace fulcrum::cli {

CLI::Option* add_threads_option(CLI::App& verb, int64_t& threads, const std::string& doc) {
  CLI::Option* option = verb.add_option_function<int64_t>(
      "--threads", [&threads](int64_t n) { threads = within_cores(n, "--threads"); },
      doc + "; at most the cores this process may use");
  return option->check(CLI::Range(1, 1024));
}

void use_threads(JobConfig& config, int64_t threads) {
  if (threads == 0) return;
  config.learner.threads = threads;
  if (config.online()) config.sampling.rollout_threads = threads;
}

void add_device_option(CLI::App& verb, std::string& device) {
  verb.add_option("--device", device,
                  "where models learn and generate: auto, cpu or cuda (default: as the job says, else auto)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

void add_generation_device_option(CLI::App& verb, std::string& device) {
  verb.add_option("--device", device, "what generates: auto (a GPU where one can be used), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
}

void use_device(JobConfig& config, const std::string& device) {
  if (device.empty()) return;
  config.learner.device = device;
  if (config.online()) config.sampling.rollout_device = device;
}

}  // namespace fulcrum::cli
