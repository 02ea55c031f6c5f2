// fulcrum-bench OP JSON: our side of `./dev bench`, for what must be timed without the start of a process.
// Prints {"ready": true}, then for every line on stdin does the work once and prints {"seconds": ..., and
// what the op says}; ends with stdin. The peers' scripts in bench/peers speak the same way.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "bench/ours/op.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum::bench {
namespace {

void say(const Json& line) {
  std::printf("%s\n", dump_json(line).c_str());
  std::fflush(stdout);
}

Status serve(const Once& once) {
  say({{"ready", true}});
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = std::chrono::steady_clock::now();
    TRY(said, once());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    said["seconds"] = took.count();
    say(said);
  }
  return ok_status();
}

Status run(const std::string& op, const std::string& text) {
  TRY(options, parse_json(text));
  if (op == "average") return average(options, serve);
  if (op == "ceiling") return ceiling(options, serve);
  if (op == "decode") return decode(options, serve);
  if (op == "head") return head(options, serve);
  if (op == "job") return job_steps(options, serve);
  if (op == "optimizer") return optimizer(options, serve);
  if (op == "publish") return publish(options, serve);
  if (op == "train") return train(options, serve);
  return invalid_argument("no operation '" + op +
                          "'; there are average, ceiling, decode, head, job, "
                          "optimizer, publish and train");
}

}  // namespace
}  // namespace fulcrum::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(
        stderr,
        "usage: fulcrum-bench average|ceiling|decode|head|job|optimizer|publish|train OPTIONS, called "
        "by ./dev bench and tools/gpu_check\n");
    return 2;
  }
  const fulcrum::Status status =
      fulcrum::catch_torch(argv[1], [&] { return fulcrum::bench::run(argv[1], argv[2]); });
  if (!status.ok()) std::fprintf(stderr, "fulcrum-bench: %s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}
