// `fulcrum study`: several trainings from one start, measured side by side over seeds; configs/papers/ has
// one a method.
#include <cstdio>

#include "engine/cli/engine/study/run_study.h"
#include "engine/cli/engine/verbs.h"
#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string study, folder, model, format = "table";
  int64_t seeds = 1;
  uint64_t first_seed = 1;
};

// A folder's study.json is called as the folder, another one beside it after both.
std::string default_name(const Path& file) {
  const std::string folder = file.parent_path().filename().string();
  return file.stem() == "study" ? folder : folder + "-" + file.stem().string();
}

Status study(const Options& o) {
  const SignalStop signals;
  TRY(config, load_study(o.study));
  const Path file = std::filesystem::absolute(o.study);
  const Path folder = std::filesystem::absolute(
      o.folder.empty() ? "runs/" + default_name(file) : o.folder);
  const StudyRun run{.file = file, .folder = folder, .seeds = o.seeds, .first_seed = o.first_seed, .model = o.model};
  TRY(table, run_study(config, run, signals));
  std::printf("%s", render(table, o.format).c_str());
  if (o.format != "table") return ok_status();
  std::printf("\nseeds %llu to %llu; table, pictures, jobs and checkpoints: %s\n",
              static_cast<unsigned long long>(o.first_seed),
              static_cast<unsigned long long>(o.first_seed + static_cast<uint64_t>(o.seeds) - 1),
              printable(folder.string(), 4096).c_str());
  return ok_status();
}

}  // namespace

void add_study(CLI::App& app, Action& action) {
  CLI::App* verb = add_verb<Options>(
      app, action, "study", "run a study of configs/papers: several trainings, one table, pictures",
      [](const Options& o) { return report(study(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("study", o.study, "the study file")->required();
        v.add_option(
            "--folder", o.folder,
            "where everything goes (default: runs/<the study's folder and file>); an interrupted study goes on there");
        v.add_option("--model", o.model,
                     "start from this model (folder or llama2.c file) and not from random weights");
        v.add_option("--seeds", o.seeds, "how often all of it is done")
            ->check(CLI::Range(1, 1000))
            ->capture_default_str();
        v.add_option("--first-seed", o.first_seed)->capture_default_str();
        add_output_option(v, o.format);
      });
  add_examples(*verb, {"fulcrum study configs/papers/dph_rl/study.json --seeds 3"});
}

}  // namespace fulcrum::cli
