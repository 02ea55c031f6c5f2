#include "engine/pipeline/config/unused_keys.h"

#include "engine/objective/config/check_objective.h"

namespace fulcrum {
namespace {

using Names = std::vector<std::string>;

Names trainers_of(RowFormat rows) {
  Names out;
  for (const std::string& name : trainer_names()) {
    if (trainer_rows(name) == rows) out.push_back(name);
  }
  return out;
}

Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<KeyReaders> make_key_readers() {
  const Names online = trainers_of(RowFormat::kPrompt);
  const Names offline = trainers_of(RowFormat::kPreference) + trainers_of(RowFormat::kCompletion);
  const Names grouped = {"grpo", "dph_rl"};
  const Names with_kl_in_loss = grouped + Names{"reinforce_pp_baseline"};
  const Names free_ratio = with_kl_in_loss + Names{"reinforce_pp", "ppo"};
  const Names surrogate = free_ratio + Names{"rloo"};
  const Names rewarded = with_kl_in_loss + Names{"rloo", "reinforce_pp"};
  const Names dpg = {"f_dpg", "alpha_dpg"};
  const Names with_reference = surrogate + dpg + Names{"dpo", "tdpo"};
  const std::vector<std::pair<Names, Names>> groups = {
      {{"f_divergence_type", "f_alpha_divergence_coef"}, dpg + Names{"dpo", "tdpo", "dph_rl"}},
      {{"js_scale"}, {"dpo", "tdpo", "dph_rl", "f_dpg"}},
      {{"beta"}, surrogate + Names{"dpo", "tdpo", "f_dpg"}},
      {{"scale_rewards"}, grouped},
      {{"loss_agg_mode", "importance_sampling_level"}, free_ratio},
      {{"kl_estimator", "kl_input_clamp", "kl_output_clamp"}, with_kl_in_loss + Names{"ppo"}},
      {{"use_bias_correction_kl"}, with_kl_in_loss},
      {{"epsilon", "epsilon_high", "delta", "dual_clip", "cispo_ratio_min", "mask_truncated_completions",
        "importance_sampling_correction", "importance_sampling_mode", "importance_sampling_cap",
        "importance_sampling_floor", "importance_sampling_normalize", "importance_sampling_denominator",
        "off_policy_mask_threshold"},
       surrogate},
      {{"soft_punish_cache", "soft_punish_factor"}, rewarded},
      {{"normalize_advantages"}, {"rloo"}},
      {{"gamma"}, {"reinforce_pp", "ppo"}},
      {{"lam", "vf_coef", "cliprange_value", "kl_in", "kl_target", "kl_horizon", "whiten_rewards",
        "score_clip", "missing_eos_penalty", "value_head", "value_model", "value_learning_rate"},
       {"ppo"}},
      {{"label_smoothing", "f_exponent_cap", "f_exponent_guard"}, {"dpo"}},
      {{"center_rewards_coefficient"}, {"reward"}},
      {{"tdpo_alpha"}, {"tdpo"}},
      {{"dph_eta", "dph_delta_max", "dph_form", "dph_combine", "dph_accumulation", "presample."}, {"dph_rl"}},
      {{"f_dpg."}, dpg},
      {{"max_prompt_length",
        "num_generations",
        "num_mini_batches",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_completion_length",
        "stop",
        "rollout_max_batch",
        "rollout_threads",
        "rollout_dtype",
        "rollout_device",
        "reward_funcs",
        "correct_reward",
        "reward_timeout_s",
        "reward_threads",
        "max_unscored_share",
        "max_staleness",
        "dynamic_sampling",
        "max_num_gen_batches",
        "deterministic",
        "log_completions",
        "eval_num_generations",
        "eval_k",
        "eval_temperature"},
       online},
      {{"max_length"}, offline},
      {{"max_zero_std_steps"}, rewarded + dpg},
      {{"ref_model", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps", "bema.", "ref_soup",
        "ref_soup_weights", "ref_soup_layer_weights", "ref_soup_interpolation"},
       with_reference},
      {{"precompute_ref_log_probs", "ref_log_probs_cache"}, {"dpo"}},
  };
  std::vector<KeyReaders> out;
  for (const auto& [keys, trainers] : groups) {
    for (const std::string& key : keys) out.push_back({key, trainers});
  }
  return out;
}

// The value at "a" or "a.b".
const Json& at_path(const Json& json, const std::string& path) {
  const size_t dot = path.find('.');
  return dot == std::string::npos ? json.at(path) : json.at(path.substr(0, dot)).at(path.substr(dot + 1));
}

// Keys of a divergence, a KL or a reference that is not in force.
void check_silenced_keys(const JobConfig& config, Complaints& out) {
  const ObjectiveConfig &c = config.objective, unset;
  const std::string divergence = c.divergence();
  out.unless(divergence == "alpha_divergence" || c.f_alpha_divergence_coef == unset.f_alpha_divergence_coef,
             "'f_alpha_divergence_coef' acts with f_divergence_type alpha_divergence only: leave it out");
  out.unless(divergence == "js_divergence" || c.js_scale == unset.js_scale,
             "'js_scale' acts with f_divergence_type js_divergence only: leave it out");
  const RowFormat rows = trainer_rows(c.trainer);
  if (uses_reference(c) || rows == RowFormat::kCompletion || c.trainer == "reward")
    return;  // not read: said above
  out.unless(
      c.kl_estimator.empty() && !c.surrogate.use_bias_correction_kl && !c.surrogate.kl_input_clamp &&
          !c.surrogate.kl_output_clamp,
      "'kl_estimator', 'use_bias_correction_kl' and the clamps of the KL do nothing with 'beta' 0: set it, "
      "or leave them out");
  const ReferenceConfig& r = config.reference;
  out.unless(
      r.ref_model.empty() && r.ref_soup.empty() && !moves(r),
      "nothing in this job compares with a reference, so 'ref_model', 'ref_soup', 'sync_ref_model' and "
      "'bema' do nothing: set 'beta', or leave them out");
}

}  // namespace

const std::vector<KeyReaders>& key_readers() {
  static const std::vector<KeyReaders> readers = make_key_readers();
  return readers;
}

const std::vector<std::string>& common_keys() {
  static const Names keys = {"trainer",
                             "loss_type",  // each trainer has values of its own: check_objective.h
                             "num_iterations",
                             "model_name_or_path",
                             "tokenizer",
                             "splitter",
                             "output_dir",
                             "seed",
                             "max_steps",
                             "train_files",
                             "val_files",
                             "prompts_per_step",
                             "overlong_rows",
                             "shuffle",
                             "learning_rate",
                             "lr_scheduler_type",
                             "warmup_steps",
                             "weight_decay",
                             "adam_beta1",
                             "adam_beta2",
                             "adam_epsilon",
                             "max_grad_norm",
                             "max_tokens_per_micro_batch",
                             "logits_chunk",
                             "gradient_checkpointing",
                             "dtype",
                             "device",
                             "threads",
                             "max_skipped_steps",
                             "eval_steps",
                             "metric_for_best_model",
                             "greater_is_better",
                             "save_steps",
                             "save_total_limit",
                             "resume"};
  return keys;
}

void check_unused_keys(const JobConfig& config, Complaints& out) {
  constexpr size_t kFew = 3;
  const Json set = write_config(config), defaults = write_config(JobConfig{});
  const std::string& trainer = config.objective.trainer;
  Names unused;
  const auto note = [&](const std::string& key, const Names& readers) {
    if (at_path(set, key) == at_path(defaults, key)) return;
    unused.push_back("'" + key + "'" + (readers.size() <= kFew ? " (of " + join(readers, ", ") + ")" : ""));
  };
  for (const auto& [key, readers] : key_readers()) {
    if (contains(readers, trainer)) continue;
    if (!key.ends_with('.')) {
      note(key, readers);
      continue;
    }
    for (const auto& [name, value] : defaults.at(key.substr(0, key.size() - 1)).items())
      note(key + name, readers);
  }
  out.unless(unused.empty(), "trainer " + in_quotes(trainer) + " does not use " + join(unused, ", ") +
                                 (unused.size() == 1 ? ": leave it out" : ": leave them out"));
  check_silenced_keys(config, out);
}

}  // namespace fulcrum
