// `fulcrum rollout`: a worker that generates for a learner.
#include <unistd.h>

#include <cstdio>

#include "engine/cli/connect.h"
#include "engine/cli/threads.h"
#include "engine/cli/verbs.h"
#include "engine/core/signals.h"
#include "rollout/fingerprint.h"
#include "rollout/generation_device.h"
#include "rollout/rpc/worker.h"

namespace fulcrum::cli {
namespace {

struct Options {
  RolloutWorkerOptions worker;
  GeneratorOptions generator;
  std::string device = "auto";
};

std::string default_name() {
  std::string host(256, '\0');
  if (::gethostname(host.data(), host.size() - 1) != 0) return "worker";
  host.resize(host.find('\0'));
  return host + "-" + std::to_string(::getpid());
}

int run(const Options& o) {
  GeneratorOptions generator = o.generator;
  const Result<DeviceOptions> device = generation_device(o.device);
  if (!device.ok()) return report(device.status());
  generator.device = *device;
  const SignalStop signals;
  RolloutWorkerOptions worker = o.worker;
  if (worker.name.empty()) worker.name = default_name();
  worker.fingerprint = numeric_fingerprint();
  worker.bf16_fingerprint = numeric_fingerprint(DType::kBF16);
  if (generator.device.kernels != nullptr) {
    worker.fingerprint = device_fingerprint(generator.device, "float32");
    worker.bf16_fingerprint = device_fingerprint(generator.device, "bfloat16");
  }
  RolloutWorker service(worker, generator_models(generator));
  return report(service.run(signals.token()));
}

}  // namespace

void add_rollout(CLI::App& app, Action& action) {
  add_verb<Options>(app, action, "rollout", "a worker that generates for a learner, until it is stopped", run,
                    [](CLI::App& v, Options& o) {
                      add_connection_options(v, o.worker.learner);
                      v.add_option("--name", o.worker.name, "for people (default: host and process number)");
                      v.add_option("--capacity", o.worker.capacity, "prompts at a time")
                          ->check(CLI::Range(1, 4096))
                          ->capture_default_str();
                      v.add_option("--max-batch", o.generator.max_batch, "sequences at a time")
                          ->check(CLI::Range(1, 65536))
                          ->capture_default_str();
                      add_threads_option(v, o.generator.threads,
                                         "threads that generate (default 1); changes no result");
                      add_generation_device_option(v, o.device);
                    });
}

}  // namespace fulcrum::cli
