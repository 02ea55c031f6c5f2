// `fulcrum reward`: a trained reward model as a RewardService, which jobs reach as the reward `service`.
#include <cstdio>

#include "engine/cli/engine/verbs.h"
#include "engine/core/signals.h"
#include "reward/model/model_reward.h"
#include "reward/rpc/serve_reward.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string model;
  ServerOptions server = {
      .listen = "127.0.0.1:50052", .tls_cert = {}, .tls_key = {}, .tls_client_ca = {}, .token_file = {}};
};

Status serve(const Options& o) {
  const SignalStop signals;
  TRY(reward, make_model_reward({.name = "model", .path = o.model}));
  return serve_reward(
      std::move(reward), o.server,
      [](const std::string& address) {
        std::printf("reward service listens on %s\n", address.c_str());
        std::fflush(stdout);
      },
      signals.token());
}

}  // namespace

void add_reward(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "reward", "serve a trained reward model until stopped",
      [](const Options& o) { return report(serve(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("-m,--model", o.model, "folder of the reward model, with its tokenizer")->required();
        v.add_option("--listen", o.server.listen, "HOST:PORT; port 0 takes any free one")
            ->capture_default_str();
        v.add_option("--tls-cert", o.server.tls_cert, "PEM certificate; needed off the loopback");
        v.add_option("--tls-key", o.server.tls_key, "PEM key");
        v.add_option("--tls-client-ca", o.server.tls_client_ca,
                     "PEM roots that client certificates must come from");
        v.add_option("--token-file", o.server.token_file, "file with access tokens; needed off the loopback");
      });
}

}  // namespace fulcrum::cli
