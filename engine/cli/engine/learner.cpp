// `fulcrum learner`: serves jobs. One job runs at a time, its rollouts by the workers that are connected.
#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "engine/cli/engine/ranks.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/threads.h"
#include "engine/core/log.h"
#include "engine/core/signals.h"
#include "engine/core/text.h"
#include "engine/pipeline/run_job.h"
#include "reward/rpc/service_factory.h"
#include "rollout/completion_text.h"
#include "rollout/fingerprint.h"
#include "rollout/rpc/learner_services.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string state = "fulcrum-state";
  ServerOptions server;
  MetricsEndpointOptions metrics;
  RankOptions ranks;
  int64_t threads = 0;  // 0: as the jobs say
};

Path run_folder_of(const Options& o, const Job& job) { return Path(o.state) / "runs" / job.id; }

Result<RolloutBackend> cluster_rollouts(LearnerServices& services, JobControl& control,
                                        const JobConfig& config, const ModelSpec& spec,
                                        std::shared_ptr<const Tokenizer> tokenizer) {
  TRY(files, read_tokenizer_files(tokenizer->files(), tokenizer->content_hash(), config.splitter));
  FleetJobOptions options;
  options.vocab_size = spec.vocab_size;
  options.text_of = [tokenizer](std::span<const TokenId> ids) { return completion_text(*tokenizer, ids); };
  options.tokenizer = std::move(files);
  options.kept_versions = config.max_staleness + 1;
  options.deterministic = config.deterministic;
  options.dtype = decode_dtype(config.sampling.rollout_dtype);
  options.fingerprint = numeric_fingerprint(options.dtype);
  options.on_waiting = [&control](bool waiting) {
    if (Status s = control.set_waiting(waiting ? JobState::kWaitingRollout : JobState::kRunning); !s.ok())
      log_warn(s.message());
  };
  options.on_failure = [&control](const std::string& what) {
    if (Status s = control.event(EventLevel::kWarn, "message", what); !s.ok()) log_warn(s.message());
  };
  TRY(cluster, services.begin_job(std::move(options)));
  return RolloutBackend{.rollouts = cluster.rollouts, .publisher = cluster.publisher};
}

void wait_for(std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, stop, [] { return false; });
}

Status run_one(const Options& o, LearnerServices& services, const std::shared_ptr<Leader>& leader,
               const Job& job, JobControl& control) {
  TRY(config, parse_job(job.config, {}));
  if (o.threads > 0) config.learner.threads = o.threads;
  const Backends backends{
      .rollouts =
          [&](const JobConfig& c, const ModelSpec& spec, std::shared_ptr<const Tokenizer> tokenizer) {
            return cluster_rollouts(services, control, c, spec, std::move(tokenizer));
          },
      .reward_service = service_rewards(),
      .leader = leader};
  log_info(job.id + " (" + printable(job.name) + ") begins");
  const Status status = run_job(config, run_folder_of(o, job), backends, control);
  // The service is being stopped then, which the job must end with, to be taken up again at the next start.
  if (leader != nullptr && !leader->trouble().ok()) wait_for(control.stop());
  log_info(job.id + " ends: " + (status.ok() ? "ok" : status.message()));
  return status;
}

Status serve(const Options& o, const SignalStop& signals, const std::shared_ptr<Leader>& leader) {
  std::stop_source stop;
  const std::stop_callback by_signal(signals.token(), [&] { stop.request_stop(); });
  if (leader != nullptr) leader->on_trouble([&](const Status&) { stop.request_stop(); });
  TRY(doors, LearnerDoors::open(o.server, o.metrics));
  TRY(store, JobStore::open(o.state));
  LearnerServices services;
  TRY(runner, JobRunner::start(*store, [&](const Job& job, JobControl& control) {
        return run_one(o, services, leader, job, control);
      }));
  const JobServiceParts parts{
      .store = *store,
      .runner = *runner,
      .check = [](const std::string& config) { return parse_job(config, {}).status(); },
      .run_folder = [&](const Job& job) -> Result<Path> { return run_folder_of(o, job); }};
  TRY_DO(services.listen(std::move(doors), parts));
  services.set_serving(true);
  std::printf("learner listens on %s, state in %s\n", services.address().c_str(),
              printable(o.state, 4096).c_str());
  if (!o.metrics.listen.empty())
    std::printf("metrics on http://%s/metrics\n", services.metrics_address().c_str());
  std::fflush(stdout);
  wait_for(stop.get_token());
  log_info("stopping: the running job keeps a checkpoint and goes on at the next start");
  services.set_serving(false);
  runner->shutdown();
  services.stop();
  if (leader == nullptr) return ok_status();
  leader->on_trouble(nullptr);
  return leader->trouble();
}

int run(const Options& o) {
  const SignalStop signals;
  return on_all_ranks(o.ranks, signals, [&](const std::shared_ptr<Leader>& leader) {
    return report(serve(o, signals, leader));
  });
}

}  // namespace

void add_learner(CLI::App& app, Action& action) {
  add_verb<Options>(app, action, "learner", "serve jobs until stopped", run, [](CLI::App& v, Options& o) {
    v.add_option("--state", o.state, "folder of the job store and the run folders")->capture_default_str();
    v.add_option("--listen", o.server.listen, "HOST:PORT; port 0 takes any free one")->capture_default_str();
    v.add_option("--tls-cert", o.server.tls_cert, "PEM certificate; needed off the loopback");
    v.add_option("--tls-key", o.server.tls_key, "PEM key");
    v.add_option("--tls-client-ca", o.server.tls_client_ca,
                 "PEM roots that client certificates must come from");
    v.add_option("--token-file", o.server.token_file,
                 "file of access tokens, lines \"viewer|worker|operator TOKEN\"; needed off the loopback");
    v.add_option("--metrics", o.metrics.listen,
                 "HOST:PORT to show /metrics on, for Prometheus (default: none)");
    add_threads_option(v, o.threads, "every job's 'threads' (default: as the job says, else 1)");
    v.add_flag("--metrics-other-machines", o.metrics.other_machines,
               "let --metrics listen off the loopback: plain HTTP without a token");
    add_rank_options(v, o.ranks);
  });
}

}  // namespace fulcrum::cli
