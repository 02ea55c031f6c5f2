#include "engine/pipeline/config/job_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "engine/objective/config/check_objective.h"
#include "engine/pipeline/config/f_dpg_job.h"
#include "engine/pipeline/config/unused_keys.h"
#include "engine/pipeline/config/waiting_keys.h"
#include "reward/make_rewards.h"
#include "reward/pass_at_k.h"

namespace fulcrum {
namespace {

void check_model_and_data(const JobConfig& c, Complaints& out) {
  out.unless(!c.model_name_or_path.empty(), "key 'model_name_or_path' is missing: name a model folder");
  out.unless(!c.data.train_files.empty(), "key 'train_files' is missing: name a JSONL file");
  out.unless(c.eval.eval_steps == 0 || !c.data.val_files.empty(), "'eval_steps' needs 'val_files'");
}

// An evaluation that generates has these metrics; one of sft or dpo those of its loss (run_job.cpp looks).
void check_best_metric(const EvalConfig& c, Complaints& out) {
  std::vector<std::string> names = {"eval_reward", "eval_completions/mean_length"};
  for (const int64_t k : c.eval_k) {
    for (const char* what : {"eval_pass@", "eval_maj@"}) names.push_back(what + std::to_string(k));
  }
  const std::string& chosen = c.metric_for_best_model;
  out.unless(chosen.empty() || contains(names, chosen),
             "'metric_for_best_model' is " + in_quotes(chosen) + "; evaluation gives " + join(names, ", "));
}

void check_evaluation(const EvalConfig& c, Complaints& out) {
  out.unless(is_temperature(c.eval_temperature), "'eval_temperature' must be 0 (greedy) or at least 1e-6");
  check_best_metric(c, out);
  out.unless(check_ks(c.eval_k, c.eval_num_generations, {"'eval_k'", "'eval_num_generations'"}));
}

// PPO's controller moves beta by at most kMaxKlError completions / kl_horizon of itself a step.
void check_kl_horizon(const JobConfig& c, Complaints& out) {
  const auto completions = static_cast<double>(c.data.prompts_per_step * c.sampling.num_generations);
  out.unless(!c.objective.ppo.kl_target || c.objective.ppo.kl_horizon > kMaxKlError * completions,
             "'kl_horizon' must be above a fifth of a step's " + std::to_string(std::llround(completions)) +
                 " completions, or beta could turn negative");
}

void check_online(const JobConfig& c, Complaints& out) {
  const std::string& trainer = c.objective.trainer;
  out.unless(!c.reward_funcs.empty(), "trainer '" + trainer + "' needs 'reward_funcs'");
  for (const RewardConfig& reward : c.reward_funcs) out.unless(check_reward(reward));
  // PPO takes its baseline from the critic, REINFORCE++ from the whole step.
  out.unless(c.sampling.num_generations >= 2 || c.objective.scale_rewards == "batch" || trainer == "ppo" ||
                 trainer == "reinforce_pp",
             "'num_generations' must be at least 2: a group of one has no baseline");
  out.unless(
      c.objective.num_mini_batches <= c.data.prompts_per_step,
      "'num_mini_batches' is above 'prompts_per_step': a minibatch is made of whole prompts with their "
      "completions");
  out.unless(!contains(c.sampling.stop, ""),
             "'stop' has an empty text, which would end every completion at once");
  out.unless(c.sampling.temperature >= kMinTemperature,
             "'temperature' must be at least 1e-6 for training; greedy samples cannot be compared");
  out.unless(c.dynamic_sampling == "off" || c.sampling.num_generations >= 2,
             "'dynamic_sampling' compares the completions of a prompt: 'num_generations' must be at least 2");
  if (is_dpg(trainer)) {
    for (std::string& complaint : f_dpg_complaints(c)) out.unless(false, std::move(complaint));
  }
  if (trainer == "dph_rl") {
    out.unless(c.presample.threshold <= c.presample.k, "'presample.threshold' must not exceed 'presample.k'");
  }
  check_kl_horizon(c, out);
  if (c.eval.eval_steps > 0) check_evaluation(c.eval, out);
}

void check_critic(const JobConfig& c, Complaints& out) {
  if (c.objective.trainer != "ppo") return;
  const CriticConfig& critic = c.learner.critic;
  out.unless(critic.value_head == "separate" || critic.value_model.empty(),
             "'value_model' does nothing with a shared 'value_head'");
}

void check_reference(const JobConfig& c, Complaints& out) {
  const ReferenceConfig& r = c.reference;
  for (std::string& complaint : reference_complaints(r)) out.unless(false, std::move(complaint));
  out.unless(!r.precompute_ref_log_probs || !moves(r),
             "'precompute_ref_log_probs' excludes 'sync_ref_model' and 'bema': a moving reference has no "
             "log-probs in advance");
  out.unless(r.ref_log_probs_cache.empty() || r.precompute_ref_log_probs,
             "'ref_log_probs_cache' does nothing without 'precompute_ref_log_probs'");
}

void make_absolute(std::string& path, const Path& base) {
  if (!path.empty() && Path(path).is_relative()) path = (base / path).lexically_normal().string();
}

std::vector<std::string*> path_keys(JobConfig& c) {
  std::vector<std::string*> out = {&c.model_name_or_path,
                                   &c.tokenizer,
                                   &c.output_dir,
                                   &c.reference.ref_model,
                                   &c.reference.ref_log_probs_cache,
                                   &c.learner.critic.value_model};
  for (RewardConfig& reward : c.reward_funcs) out.push_back(&reward.path);
  for (auto* list : {&c.data.train_files, &c.data.val_files, &c.reference.ref_soup}) {
    for (std::string& p : *list) out.push_back(&p);
  }
  return out;
}

Result<JobConfig> read(std::string_view text, const std::vector<std::string>& overrides) {
  TRY(document, parse_json(text, {.comments = true}));
  if (!document.is_object()) return invalid_argument("a job must be a JSON object");
  for (const std::string& o : overrides) TRY_DO(apply_override(document, o));
  TRY(config, read_config<JobConfig>(document));
  config.objective.max_completion_length = config.sampling.max_completion_length;
  return config;
}

}  // namespace

double JobConfig::correct_from() const {
  if (correct_reward) return *correct_reward;
  double sum = 0;
  for (const RewardConfig& r : reward_funcs) sum += std::max(0.0, r.weight);
  return sum;
}

Status check_job(const JobConfig& config) {
  Complaints out;
  check_model_and_data(config, out);
  check_unused_keys(config, out);
  check_waiting_keys(config, out);
  out.unless(check_objective(config.objective));
  if (config.online()) check_online(config, out);
  check_reference(config, out);
  check_critic(config, out);
  return out.status();
}

Result<JobConfig> load_job(const Path& file, const std::vector<std::string>& overrides) {
  TRY(text, read_file(file, uint64_t{1} << 20));
  Result<JobConfig> config = read(text, overrides);
  if (!config.ok()) return config.status().with_context(printable(file.string()));
  const Path base = std::filesystem::absolute(file).parent_path();
  for (std::string* path : path_keys(*config)) make_absolute(*path, base);
  if (Status s = check_job(*config); !s.ok()) return s.with_context(printable(file.string()));
  return config;
}

Result<JobConfig> parse_job(std::string_view text, const std::vector<std::string>& overrides) {
  TRY(config, read(text, overrides));
  for (const std::string* path : path_keys(config)) {
    if (!path->empty() && Path(*path).is_relative()) {
      return invalid_argument("path " + in_quotes(*path) +
                              " is relative; a job sent to a learner needs absolute paths");
    }
  }
  TRY_DO(check_job(config));
  return config;
}

namespace {

// The keys that decide the numbers of a run.
Json deciding_keys(const JobConfig& config) {
  Json j = write_config(config);
  for (const char* key : {"output_dir", "save_steps", "save_total_limit", "resume", "log_completions",
                          "reward_threads", "reward_timeout_s", "max_steps", "rollout_max_batch",
                          "rollout_threads", "ref_log_probs_cache", "device", "rollout_device"}) {
    j.erase(key);
  }
  // The horizon matters where the schedule looks at it.
  if (config.learner.lr_scheduler_type != "constant") j["max_steps"] = config.max_steps;
  return j;
}

}  // namespace

std::string job_fingerprint(const JobConfig& config) { return sha256_hex(dump_json(deciding_keys(config))); }

std::string first_difference(const JobConfig& a, const JobConfig& b) {
  const Json mine = deciding_keys(a), other = deciding_keys(b);
  for (const auto& [key, value] : mine.items()) {
    if (!other.contains(key) || other[key] != value) return key;
  }
  return {};
}

}  // namespace fulcrum
