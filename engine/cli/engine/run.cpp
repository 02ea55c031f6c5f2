// `fulcrum run JOB.json`: the whole job in this process; under torchrun, on its ranks.
#include <cstdio>

#include "engine/cli/engine/local_run.h"
#include "engine/cli/engine/ranks.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/threads.h"
#include "engine/core/text.h"
#include "engine/pipeline/run_job.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string job, output_dir;
  std::vector<std::string> set;
  RankOptions ranks;
  int64_t threads = 0;  // 0: as the job says
  std::string device;
};

int run_here(const Options& o, const SignalStop& signals, const std::shared_ptr<Leader>& leader) {
  Result<JobConfig> config = load_job(o.job, o.set);
  if (!config.ok()) return report(config.status());
  use_threads(*config, o.threads);
  use_device(*config, o.device);
  const std::string folder = !o.output_dir.empty()         ? o.output_dir
                             : !config->output_dir.empty() ? config->output_dir
                                                           : "runs/" + Path(o.job).stem().string();
  const Status status = run_locally(*config, folder, config->objective.trainer, signals, leader);
  if (status.ok()) {
    std::printf("%s\n", printable(final_checkpoint(folder, *config).string(), 4096).c_str());
  } else if (status.code() == Code::kCancelled) {
    std::fprintf(stderr, "fulcrum: stopped; run the same command again to go on from %s\n",
                 printable(folder, 4096).c_str());
    return exit_code(Code::kCancelled);
  }
  return report(status);
}

int run(const Options& o) {
  const SignalStop signals;
  return on_all_ranks(o.ranks, signals,
                      [&](const std::shared_ptr<Leader>& leader) { return run_here(o, signals, leader); });
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  add_verb<Options>(app, action, "run", "run a job in this process; prints the folder of the trained model",
                    run, [](CLI::App& v, Options& o) {
                      v.add_option("job", o.job, "the job file")->required();
                      v.add_option("--output-dir", o.output_dir,
                                   "the run folder (default: the job's output_dir, else runs/<job>)");
                      v.add_option("--set", o.set, "override a key: a.b=value");
                      add_rank_options(v, o.ranks);
                      add_threads_option(
                          v, o.threads,
                          "for both 'threads' and 'rollout_threads' (default: as the job says, "
                          "else 1)");
                      add_device_option(v, o.device);
                    });
}

}  // namespace fulcrum::cli
