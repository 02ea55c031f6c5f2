#include "engine/cli/engine/study/run_study.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "engine/cli/engine/local_run.h"
#include "engine/cli/engine/study/findings.h"
#include "engine/cli/engine/study/inputs.h"
#include "engine/cli/engine/study/report.h"
#include "engine/cli/engine/study/tasks.h"
#include "engine/core/text.h"
#include "engine/jobs/checkpoint.h"
#include "engine/pipeline/run_job.h"
#include "engine/reference/soup.h"
#include "policy/text/model_tokenizer.h"

namespace fulcrum::cli {
namespace {

// One seed of a study: its folder, and the models made in it.
class Seed {
 public:
  Seed(const StudyConfig& study, const StudyRun& run, uint64_t seed, const SignalStop& signals)
      : study_(study),
        run_(run),
        seed_(seed),
        signals_(signals),
        folder_(run.folder / ("seed-" + std::to_string(seed))) {}

  Status make_inputs() const;
  Status make(const StudyStage& stage, const std::string& progress_label) const;
  // Measures what `findings` does not hold yet.
  Status measure(Findings& findings) const;

 private:
  Path model(const std::string& name) const { return folder_ / "models" / name; }
  Path run_folder(const std::string& name) const { return folder_ / "runs" / name; }
  Result<JobConfig> write_job(const StudyStage& stage) const;
  Status link_model(const std::string& name, const Path& target) const;
  Status make_soup_of(const StudyStage& stage) const;
  Result<std::vector<std::pair<int64_t, Path>>> checkpoints(const StudyStage& stage) const;
  bool measures_all_checkpoints() const;

  const StudyConfig& study_;
  const StudyRun& run_;
  uint64_t seed_;
  const SignalStop& signals_;
  Path folder_;
};

// A model of someone else's as the study's start: in a folder that transformers loads.
Status copy_model(const Path& from, const Path& to) {
  TRY(given, load_model(from.string()));
  TRY(tokenizer, load_tokenizer_of(given, {}));
  TRY_DO(make_folders(to));
  return write_model(to, given, tokenizer->files());
}

Status Seed::make_inputs() const {
  if (std::filesystem::exists(model("init") / "config.json")) return ok_status();
  const StudyTask task = make_study_task(study_.task, seed_);
  TRY_DO(make_folders(folder_ / "data"));
  for (const auto& [name, rows] : task.files) TRY_DO(write_rows(folder_ / "data" / (name + ".jsonl"), rows));
  if (!run_.model.empty()) return copy_model(run_.model, model("init"));
  if (task.characters.empty())
    return invalid_argument("task " + in_quotes(study_.task) + " needs a model that has learnt it: --model FOLDER");
  return write_small_model(model("init"), task.characters, study_.model, seed_);
}

// The stage's job as `fulcrum run` takes it, in the seed's folder, which its paths are relative to.
Result<JobConfig> Seed::write_job(const StudyStage& stage) const {
  const Path source = run_.file.parent_path() / stage.job;
  TRY(text, read_file(source));
  auto job = parse_json(text, {.comments = true});
  if (!job.ok()) return job.status().with_context(in_quotes(source.string()));
  for (const std::string& assignment : stage.set) TRY_DO(apply_override(*job, assignment));
  if (!job->contains("seed")) (*job)["seed"] = seed_;
  (*job)["output_dir"] = "runs/" + stage.name;
  const Path file = folder_ / (stage.name + ".json");
  TRY_DO(write_file_atomic(file, dump_json(*job, 2) + "\n"));
  return load_job(file, {});
}

Status Seed::link_model(const std::string& name, const Path& target) const {
  std::error_code error;
  std::filesystem::remove(model(name), error);
  if (!error) std::filesystem::create_directory_symlink(target, model(name), error);
  return error ? from_errno(error.value(), "linking", model(name)) : ok_status();
}

Status Seed::make_soup_of(const StudyStage& stage) const {
  if (std::filesystem::exists(model(stage.name) / "config.json")) return ok_status();
  std::vector<Ingredient> models;
  for (const std::string& part : stage.soup) {
    TRY(loaded, load_ingredient(model(part).string()));
    models.push_back(std::move(loaded));
  }
  TRY(soup, make_soup(models, {.weights = stage.soup_weights}));
  TRY(tokenizer, load_tokenizer(model(stage.soup.front())));
  TRY_DO(make_folders(model(stage.name)));
  return write_model(model(stage.name), soup, tokenizer->files());
}

Status Seed::make(const StudyStage& stage, const std::string& progress_label) const {
  if (!stage.soup.empty()) return make_soup_of(stage).with_context("soup " + in_quotes(stage.name));
  TRY(config, write_job(stage));
  TRY_DO(run_locally(config, run_folder(stage.name), progress_label + " " + stage.name, signals_));
  return link_model(stage.name, final_checkpoint(run_folder(stage.name), config));
}

bool Seed::measures_all_checkpoints() const {
  for (const StudyMeasure& m : study_.measures) {
    if (m.all_checkpoints) return true;
  }
  return false;
}

// What is measured of a stage: its last model, or every checkpoint that was kept.
Result<std::vector<std::pair<int64_t, Path>>> Seed::checkpoints(const StudyStage& stage) const {
  std::vector<std::pair<int64_t, Path>> out;
  if (!stage.soup.empty()) return std::vector{std::pair(int64_t{0}, model(stage.name))};
  const CheckpointStore store = CheckpointStore::read_only(run_folder(stage.name) / "checkpoints");
  TRY(steps, store.steps());
  if (!measures_all_checkpoints() && !steps.empty()) steps = {steps.back()};
  for (const int64_t step : steps) out.emplace_back(step, store.folder_of(step));
  return out;
}

Status Seed::measure(Findings& findings) const {
  std::optional<ModelMeter> meter;
  for (const StudyStage& stage : compared_models(study_)) {
    const bool is_base = stage.name == study_.base;
    TRY(all, checkpoints(stage));
    if (is_base && !all.empty()) all = {all.back()};
    for (const auto& [step, path] : all) {
      if (findings.has(seed_, stage.name, step)) continue;
      std::fprintf(stderr, "measuring seed %llu, %s, step %lld\n", static_cast<unsigned long long>(seed_),
                   stage.name.c_str(), static_cast<long long>(step));
      if (!meter) {
        TRY(made, ModelMeter::create(folder_, model(study_.base), study_.measures, seed_, signals_.token()));
        meter.emplace(std::move(made));
      }
      TRY(values, meter->measure(path, step == all.back().first, signals_.token()));
      if (stage.soup.empty()) TRY_DO(add_run_metrics(run_folder(stage.name), step, values));
      TRY_DO(findings.add({static_cast<int64_t>(seed_), stage.name, step, std::move(values)}));
    }
  }
  return ok_status();
}

Status make_seed(const Seed& seed, const StudyConfig& study, const std::string& label) {
  TRY_DO(seed.make_inputs());
  const size_t total = study.stages.size() + study.arms.size();
  size_t done = 0;
  for (const auto* list : {&study.stages, &study.arms}) {
    for (const StudyStage& stage : *list)
      TRY_DO(seed.make(stage, label + std::to_string(++done) + "/" + std::to_string(total)));
  }
  return ok_status();
}

}  // namespace

Result<Table> run_study(const StudyConfig& study, const StudyRun& run, const SignalStop& signals) {
  TRY_DO(make_folders(run.folder));
  TRY(findings, Findings::open(run.folder / "results.jsonl", write_config(study)));
  for (int64_t i = 0; i < run.seeds; ++i) {
    const uint64_t number = run.first_seed + static_cast<uint64_t>(i);
    const Seed seed(study, run, number, signals);
    const std::string label = run.seeds == 1 ? "" : "seed " + std::to_string(number) + " ";
    TRY_DO(make_seed(seed, study, label));
    TRY_DO(seed.measure(findings));
  }
  // The folder may know other seeds too.
  std::vector<Finding> asked;
  std::copy_if(findings.all().begin(), findings.all().end(), std::back_inserter(asked),
               [&](const Finding& f) {
                 const auto seed = static_cast<uint64_t>(f.seed);
                 return seed >= run.first_seed && seed - run.first_seed < static_cast<uint64_t>(run.seeds);
               });
  const Table table = study_table(study, asked);
  TRY_DO(write_file_atomic(run.folder / "table.md", study_markdown(study, table, run.seeds)));
  for (const StudyChart& chart : study.charts)
    TRY_DO(write_file_atomic(run.folder / chart.file, to_svg(study_chart(study, chart, asked))));
  return table;
}

}  // namespace fulcrum::cli
