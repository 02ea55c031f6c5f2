// `fulcrum`: the program users type. Links no LibTorch, so that it answers at once; verbs that train hand
// over to fulcrum-engine, which lies beside it.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>

#include "engine/cli/verbs.h"
#include "engine/core/text.h"

namespace {

struct EngineVerb {
  const char* name;
  const char* doc;
};

constexpr std::array kEngineVerbs = {
    EngineVerb{"run", "run a job in this process"},
    EngineVerb{"plan", "predict a job's peak memory and the time of a step"},
    EngineVerb{"learner", "serve jobs: the learner of a cluster"},
    EngineVerb{"logps", "log-probs of completions under a model"},
    EngineVerb{"eval", "pass@k, maj@k and win rates of a model on a data file; accuracy of a reward model"},
    EngineVerb{"soup", "one model made of several of one shape"},
    EngineVerb{"reward", "serve a trained reward model"},
    EngineVerb{"demo", "train a small model twice and compare (what ./dev demo runs)"},
    EngineVerb{"study", "several trainings from one start, measured side by side (configs/papers/)"},
};

bool needs_engine(int argc, char** argv) {
  const std::span arguments(argv, static_cast<size_t>(argc));
  if (argc < 2) return false;
  const std::string_view chosen = arguments[1];
  if (std::ranges::any_of(kEngineVerbs, [&](const EngineVerb& verb) { return chosen == verb.name; }))
    return true;
  // `score` is a verb of both programs: only a trained reward model needs LibTorch.
  bool model = false;
  for (size_t i = 2; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    model |=
        word == "--reward=model" || (word == "model" && std::string_view(arguments[i - 1]) == "--reward");
  }
  return chosen == "score" && model;
}

int run_engine(char** argv) {
  // Of threads that do not ask for a number of their own. It must stand there before LibTorch's OpenMP
  // starts: a number set later is that of the thread which sets it.
  ::setenv("OMP_NUM_THREADS", "1", /*replace=*/1);
  // The tensors of a step are new each time, and a fault for every 4 KiB of them is a tenth of the time of a
  // step: malloc asks for huge pages, and maps anew only what is above 32 MiB. One arena: those of threads
  // are cut into pieces of 64 MiB, which go back to the system whenever one is free, and a step that crosses
  // a border faults them in again each time. It reads this before main() begins.
  ::setenv("GLIBC_TUNABLES",
           "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=33554432:glibc.malloc.mmap_threshold=33554432:"
           "glibc.malloc.arena_max=1",
           /*replace=*/0);
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string engine = (self.parent_path() / "fulcrum-engine").string();
  ::execv(engine.c_str(), argv);
  std::fprintf(stderr, "fulcrum: cannot start %s: %s\n", fulcrum::printable(engine).c_str(),
               std::strerror(errno));
  return 3;
}

}  // namespace

int main(int argc, char** argv) {
  if (needs_engine(argc, argv)) return run_engine(argv);
  CLI::App app("Fulcrum aligns language models: rollouts, rewards, f-divergences, one job file.", "fulcrum");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("fulcrum ") + FULCRUM_VERSION);
  fulcrum::cli::Action action;
  for (const EngineVerb& verb : kEngineVerbs) app.add_subcommand(verb.name, verb.doc);
  fulcrum::cli::add_job_verbs(app, action);
  fulcrum::cli::add_rollout(app, action);
  fulcrum::cli::add_generate(app, action);
  fulcrum::cli::add_tokenize(app, action);
  fulcrum::cli::add_score(app, action);
  fulcrum::cli::add_init_model(app, action);
  fulcrum::cli::add_checkpoint_verbs(app, action);
  fulcrum::cli::add_data_verbs(app, action);
  fulcrum::cli::add_config_verbs(app, action);
  fulcrum::cli::add_explain(app, action);
  fulcrum::cli::add_doctor(app, action);
  return fulcrum::cli::run_program(app, action, argc, argv);
}
