// `fulcrum demo`: the main job on a task that needs no download. A small Llama is made, warmed up by SFT on
// sums whose answers come in several correct forms, then trained twice with verifiable rewards from the same
// start: GRPO without a divergence, and DPH-RL with JS. Prints pass@k of the three side by side and draws it.
// Whatever the run gives is shown.
#include <cstdio>

#include "engine/cli/engine/demo_task.h"
#include "engine/cli/engine/local_run.h"
#include "engine/cli/engine/measure.h"
#include "engine/cli/engine/study/inputs.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/plot.h"
#include "engine/cli/table.h"
#include "engine/core/text.h"
#include "engine/pipeline/run_job.h"

namespace fulcrum::cli {
namespace {

constexpr int64_t kWarmUpRows = 4000, kTrainProblems = 512, kTestProblems = 200;
constexpr int64_t kSamples = 32;
const std::vector<int64_t> kAttempts = {1, 2, 4, 8, 16};

struct Options {
  std::string folder = "demo-run";
  uint64_t seed = 17;
  int64_t warm_up_steps = 900, steps = 200;
};

Status write_inputs(const Path& folder, uint64_t seed) {
  const DemoTask task = make_demo_task(seed, kWarmUpRows, kTrainProblems, kTestProblems);
  TRY_DO(make_folders(folder / "data"));
  TRY_DO(write_rows(folder / "data/warm_up.jsonl", task.warm_up));
  TRY_DO(write_rows(folder / "data/train.jsonl", task.train));
  TRY_DO(write_rows(folder / "data/test.jsonl", task.test));
  return write_small_model(folder / "model", task.characters, StudyModel{}, seed);
}

// The job files lie in the demo's folder: `fulcrum run` takes them as they are.
Json sft_job(const Options& o) {
  return {{"trainer", "sft"},
          {"model_name_or_path", "model"},
          {"train_files", {"data/warm_up.jsonl"}},
          {"output_dir", "sft"},
          {"seed", o.seed},
          {"max_steps", o.warm_up_steps},
          {"prompts_per_step", 64},
          {"learning_rate", 2e-3},
          {"lr_scheduler_type", "cosine"},
          {"warmup_steps", 10},
          {"save_steps", 0}};
}

Json rewards() {
  return {{{"name", "math"}, {"extract", "whole"}}, {{"name", "regex"}, {"pattern", kDemoAnswerPattern}}};
}

Json rl_job(const Options& o, const std::string& trainer) {
  Json job = {{"trainer", trainer},
              {"model_name_or_path", "sft/checkpoints/checkpoint-" + std::to_string(o.warm_up_steps)},
              {"train_files", {"data/train.jsonl"}},
              {"output_dir", trainer},
              {"seed", o.seed + 1},
              {"max_steps", o.steps},
              {"prompts_per_step", 32},
              {"num_generations", 8},
              {"max_completion_length", 10},
              {"epsilon_high", 0.28},
              {"learning_rate", 3e-4},
              {"beta", 0.0},
              {"reward_funcs", rewards()},
              {"save_steps", 0}};
  if (trainer == "dph_rl") {
    job["f_divergence_type"] = "js_divergence";
    job["dph_eta"] = 0.2;
    job["presample"] = {{"k", 8}, {"threshold", 6}, {"rehearsal_per_step", 32}};
  }
  return job;
}

Result<JobConfig> write_job(const Path& folder, const std::string& name, const Json& job) {
  const Path file = folder / (name + ".json");
  TRY_DO(write_file_atomic(file, dump_json(job, 2) + "\n"));
  return load_job(file, {});
}

struct Measured {
  std::string name, colour;
  EvalReport report;
};

Result<EvalReport> measure_model(const Options& o, const Path& folder, const Path& model,
                                 const JobConfig& config, std::stop_token stop) {
  MeasureOptions m{.model = model.string(),
                   .files = {(folder / "data/test.jsonl").string()},
                   .rewards = config.reward_funcs,
                   .correct_reward = config.correct_from(),
                   .num_generations = kSamples,
                   .k = kAttempts,
                   .seed = o.seed + 2};
  m.sampling.max_completion_length = config.sampling.max_completion_length;
  return measure(m, stop);
}

std::string percent(const Estimate& e) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f [%.1f, %.1f]", 100 * e.mean, 100 * e.low, 100 * e.high);
  return text;
}

Table pass_table(const std::vector<Measured>& all) {
  Table table{{"model", "pass@1 %", "pass@4 %", "pass@16 %", "mean length"}, {}};
  for (const Measured& m : all) {
    Json row = {{"model", m.name}, {"mean length", m.report.mean_length}};
    for (const AtK& a : m.report.at_k) {
      if (a.pass) row["pass@" + std::to_string(a.k) + " %"] = percent(*a.pass);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Chart pass_chart(const std::vector<Measured>& all) {
  Chart chart{.title = "pass@k on held-out sums",
              .x_label = "k (samples)",
              .y_label = "problems solved",
              .log2_x = true};
  for (const Measured& m : all) {
    Curve curve{.name = m.name, .colour = m.colour};
    for (const AtK& a : m.report.at_k) {
      if (!a.pass) continue;
      curve.x.push_back(static_cast<double>(a.k));
      curve.y.push_back(a.pass->mean);
      curve.low.push_back(a.pass->low);
      curve.high.push_back(a.pass->high);
    }
    chart.curves.push_back(std::move(curve));
  }
  return chart;
}

Status demo(const Options& o, const SignalStop& signals) {
  const Path folder = std::filesystem::absolute(o.folder);
  std::printf("seeds: data and model %llu, training %llu, evaluation %llu\n",
              static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(o.seed + 1),
              static_cast<unsigned long long>(o.seed + 2));
  std::fflush(stdout);
  TRY_DO(write_inputs(folder, o.seed));
  TRY(sft, write_job(folder, "sft", sft_job(o)));
  TRY_DO(run_locally(sft, folder / "sft", "1/3 SFT warm-up", signals));
  TRY(grpo, write_job(folder, "grpo", rl_job(o, "grpo")));
  TRY_DO(run_locally(grpo, folder / "grpo", "2/3 GRPO", signals));
  TRY(dph, write_job(folder, "dph_rl", rl_job(o, "dph_rl")));
  TRY_DO(run_locally(dph, folder / "dph_rl", "3/3 DPH-RL (JS)", signals));

  std::fprintf(stderr, "measuring: %lld problems, %lld samples each\n", static_cast<long long>(kTestProblems),
               static_cast<long long>(kSamples));
  std::vector<Measured> all;
  TRY(start, measure_model(o, folder, final_checkpoint(folder / "sft", sft), grpo, signals.token()));
  all.push_back({"start (SFT)", "#888888", std::move(start)});
  TRY(plain, measure_model(o, folder, final_checkpoint(folder / "grpo", grpo), grpo, signals.token()));
  all.push_back({"GRPO", "#d95f02", std::move(plain)});
  TRY(js, measure_model(o, folder, final_checkpoint(folder / "dph_rl", dph), grpo, signals.token()));
  all.push_back({"DPH-RL (JS)", "#1b9e77", std::move(js)});

  std::printf("\n%s\n", render(pass_table(all), "table").c_str());
  std::printf(
      "Mean and 95 %% bootstrap interval over %lld held-out problems, %lld samples each, temperature 1, one "
      "training seed.\n",
      static_cast<long long>(kTestProblems), static_cast<long long>(kSamples));
  const Path picture = folder / "pass_at_k.svg";
  TRY_DO(write_file_atomic(picture, to_svg(pass_chart(all))));
  std::printf("picture: %s\njob files, metrics and checkpoints: %s\n",
              printable(picture.string(), 4096).c_str(), printable(folder.string(), 4096).c_str());
  return ok_status();
}

}  // namespace

void add_demo(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "demo", "train a small model twice and compare pass@k",
      [](const Options& o) {
        const SignalStop signals;
        return report(demo(o, signals));
      },
      [](CLI::App& v, Options& o) {
        v.add_option("--folder", o.folder, "where everything goes; an interrupted demo goes on there")
            ->capture_default_str();
        v.add_option("--seed", o.seed,
                     "of data and model; training uses the next one, evaluation the one after")
            ->capture_default_str();
        v.add_option("--warm-up-steps", o.warm_up_steps)->check(CLI::Range(1, 100000))->capture_default_str();
        v.add_option("--steps", o.steps, "rollout batches of GRPO and of DPH-RL")
            ->check(CLI::Range(1, 100000))
            ->capture_default_str();
      });
}

}  // namespace fulcrum::cli
