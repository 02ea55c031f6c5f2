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

}  // namespace fulcrum::cli
