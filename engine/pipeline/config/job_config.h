// A job, whole: the config structs of every room under one flat set of keys (TRL's names), plus the run's own
// keys. Torch-free: the client checks a job with it before any engine starts. Values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/core/config.h"
#include "engine/core/files.h"
#include "engine/data/data_config.h"
#include "engine/learner/learner_config.h"
#include "engine/objective/config/objective_config.h"
#include "engine/reference/reference_config.h"
#include "policy/text/splitters.h"
#include "reward/reward_config.h"
#include "rollout/sampling_config.h"

namespace fulcrum {

// DPH-RL's stage before training: which prompts the initial policy masters, and one stored sample of each.
struct PresampleConfig {
  int64_t k = 8;
  int64_t threshold = 8;
  int64_t rehearsal_per_step = 16;
  std::string on_extra_fail = "exp";
  bool drop_all_wrong = false;

  void visit(ConfigVisitor& v) {
    v.field("k", k, between(1, 4096), "samples of the initial policy for each training prompt");
    v.field("threshold", threshold, at_least(1), "correct samples, of k, that make a prompt near-perfect");
    v.field("rehearsal_per_step", rehearsal_per_step, at_least(0), "stored samples rehearsed in each step");
    v.field("on_extra_fail", on_extra_fail, Choices{{"exp", "drop"}},
            "a prompt whose confirming sample is wrong: explore it, or leave it out");
    v.field("drop_all_wrong", drop_all_wrong, "leave out prompts without one correct sample");
  }
};

struct EvalConfig {
  int64_t eval_steps = 0;
  int64_t eval_num_generations = 4;
  std::vector<int64_t> eval_k = {1, 4};
  double eval_temperature = 1.0;
  std::string metric_for_best_model;
  bool greater_is_better = true;

  void visit(ConfigVisitor& v) {
    v.field("eval_steps", eval_steps, at_least(0), "steps between evaluations on val_files; 0: never");
    v.field("eval_num_generations", eval_num_generations, between(1, 4096),
            "samples for each validation prompt");
    v.field("eval_k", eval_k, at_least(1), "values of k for pass@k");
    v.field("eval_temperature", eval_temperature, at_least(0),
            "softmax temperature of evaluation samples, at least 1e-6; or 0: greedy");
    v.field("metric_for_best_model", metric_for_best_model,
            "evaluation metric that decides the best checkpoint; empty: eval_reward, or eval_loss for sft, "
            "dpo and reward");
    v.field("greater_is_better", greater_is_better,
            "whether more of metric_for_best_model is better (eval_loss: set it to false)");
  }
};

inline Choices splitter_choices() {
  Choices out{{""}};
  for (std::string& name : splitter_names()) out.names.push_back(std::move(name));
  return out;
}

struct JobConfig {
  ObjectiveConfig objective;
  std::string model_name_or_path;
  std::string tokenizer;
  std::string splitter;
  std::string output_dir;
  int64_t seed = 0;
  int64_t max_steps = 100;
  DataConfig data;
  SamplingConfig sampling;
  std::vector<RewardConfig> reward_funcs;
  std::optional<double> correct_reward;
  double reward_timeout_s = 30;
  int64_t reward_threads = 1;
  double max_unscored_share = 0.5;
  LearnerConfig learner;
  ReferenceConfig reference;
  PresampleConfig presample;
  EvalConfig eval;
  int64_t save_steps = 50;
  int64_t save_total_limit = 2;
  std::string resume = "auto";
  int64_t max_staleness = 0;
  std::string dynamic_sampling = "off";
  int64_t max_num_gen_batches = 10;
  bool deterministic = true;
  bool log_completions = false;

  void visit(ConfigVisitor& v) {
    objective.visit(v);
    v.field("model_name_or_path", model_name_or_path, "folder (or llama2.c .bin file) of the model to train");
    v.field("tokenizer", tokenizer, "folder or file of the tokenizer; empty: the model's folder");
    v.field("splitter", splitter, splitter_choices(),
            "pre-tokenisation of a BPE whose files do not say; empty: what they say");
    v.field("output_dir", output_dir,
            "the run folder; with `fulcrum run --output-dir` or a learner it may be empty");
    v.field("seed", seed, at_least(0), "everything random in the run is a function of it");
    v.field("max_steps", max_steps, at_least(1),
            "rollout batches (grpo, ppo, dph_rl) or optimizer steps (sft, dpo, reward)");
    data.visit(v);
    sampling.visit(v);
    v.list("reward_funcs", reward_funcs,
           "the judges and their weights; `fulcrum config explain reward_funcs` lists their keys");
    v.field("correct_reward", correct_reward, any_value(),
            "reward from which a completion counts as correct (pass@k, presample); null: the sum of the "
            "positive weights");
    v.field("reward_timeout_s", reward_timeout_s, above(0),
            "deadline of all judges together for one step, in seconds");
    v.field("reward_threads", reward_threads, between(1, 256), "threads that judge");
    v.field(
        "max_unscored_share", max_unscored_share, between(0, 1),
        "share of a step's completions that the judges may leave without a score (they failed, timed out, or "
        "could not read the solution) before the job stops");
    learner.visit(v);
    reference.visit(v);
    v.section("presample", presample, "dph_rl: the stage that finds what the initial policy already masters");
    eval.visit(v);
    v.field("save_steps", save_steps, at_least(0), "steps between checkpoints; 0: only at the end");
    v.field("save_total_limit", save_total_limit, at_least(2), "checkpoints kept, beside the best one");
    v.field("resume", resume, Choices{{"auto", "never"}},
            "auto: go on from the run folder's last checkpoint");
    v.field("max_staleness", max_staleness, between(0, 8),
            "step s is generated by version max(0, s - max_staleness)");
    v.field(
        "dynamic_sampling", dynamic_sampling, Choices{{"off", "correct", "reward"}},
        "replace prompts whose completions are all correct or all wrong (correct_reward), or have all the "
        "same reward, by further ones (DAPO)");
    v.field("max_num_gen_batches", max_num_gen_batches, between(1, 1024),
            "dynamic_sampling: batches of prompts_per_step prompts before the job stops in words");
    v.field("deterministic", deterministic, "refuse workers whose arithmetic differs from the first one's");
    v.field("log_completions", log_completions, "write every completion with its verdict into completions/");
  }

  double correct_from() const;
  RowFormat rows() const { return trainer_rows(objective.trainer); }
  // Whether completions are generated and judged (the others learn from what the data holds).
  bool online() const { return rows() == RowFormat::kPrompt; }
};

// What single ranges cannot say: which keys a trainer needs, which exclude each other. All errors in one
// line.
Status check_job(const JobConfig& config);

// A job file (JSON with comments) with overrides applied; relative paths inside it are relative to its
// folder. Errors name the file and the key.
Result<JobConfig> load_job(const Path& file, const std::vector<std::string>& overrides);
// The same from text, as it arrives over the wire; relative paths are refused there.
Result<JobConfig> parse_job(std::string_view text, const std::vector<std::string>& overrides);

// SHA-256 of all keys that decide the numbers of a run (not output_dir, save_*, resume, log_completions,
// threads of the judges): a checkpoint of another fingerprint is not resumed.
std::string job_fingerprint(const JobConfig& config);
// The first key by which two jobs of different fingerprints differ; empty: none.
std::string first_difference(const JobConfig& a, const JobConfig& b);

}  // namespace fulcrum
