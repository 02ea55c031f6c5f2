// `fulcrum explain NAME`: what a metric is, which way is good, and what is healthy. A name that ends in *
// stands for all that begin so, @k for every k; eval_NAME is NAME on val_files unless it has an entry of its
// own.
#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

struct MetricInfo {
  const char* name;
  const char* formula;
  const char* healthy;
};

constexpr std::array kMetrics = {
    MetricInfo{"loss", "the objective's value, divided by the step's totals (docs/objectives.md)",
               "sft, dpo: falls; grpo: near 0 and says little, watch reward"},
    MetricInfo{"reward", "mean of the verdicts' scores over all completions of the step", "rises"},
    MetricInfo{"reward_std", "mean over groups of the standard deviation (n - 1) of rewards",
               "above 0; 0 teaches nothing"},
    MetricInfo{"frac_reward_zero_std", "share of groups whose rewards are all equal",
               "below 0.8; 1 stops learning"},
    MetricInfo{"entropy", "mean over tokens of -sum p log p at the rollout temperature, in nats",
               "falls slowly; a fall to 0 is collapse"},
    MetricInfo{"kl",
               "per-token estimate (kl_estimator; rloo, reinforce_pp: k1 at the start of the update) of "
               "KL(policy || reference)",
               "small and slowly growing"},
    MetricInfo{"ref/version",
               "which version of the reference gave the step's log-probs: 0, +1 with each move", "-"},
    MetricInfo{
        "ref/kl",
        "mean over sampled tokens of log policy - log reference, before the update: estimates KL(policy "
        "|| reference) a token",
        "0 in the first step if the reference is the policy as it starts; then grows slowly"},
    MetricInfo{"ref/kl_excess", "ref/kl less its value in the run's first step", "grows slowly"},
    MetricInfo{"ref/kl_after_move",
               "ref/kl of the step in which the reference moved, had the reference been what it is now",
               "below ref/kl: the reference came nearer; the jump is expected"},
    MetricInfo{
        "soup/kl", "ref/kl where the reference is a soup of models (ref_soup)",
        "above 0 from the first step on: the policy starts beside the soup; targets of a KL controller "
        "belong above it"},
    MetricInfo{"soup/kl_excess", "soup/kl less its value in the run's first step",
               "grows slowly; may fall below 0: the policy then went towards the soup"},
    MetricInfo{"soup/kl_after_move", "ref/kl_after_move where the reference began as a soup",
               "below soup/kl"},
    MetricInfo{"clip_ratio/low_mean",
               "share of tokens on which the trust region acts below a ratio of 1 (at 1 - epsilon, advantage "
               "< 0)",
               "below 0.2"},
    MetricInfo{"clip_ratio/high_mean", "share of tokens clipped at 1 + epsilon_high (advantage > 0)",
               "below 0.2"},
    MetricInfo{"clip_ratio/region_mean", "share of tokens clipped on either side", "below 0.2"},
    MetricInfo{"clip_ratio/dual_mean", "share of tokens whose loss dual_clip bounds (advantage < 0)",
               "near 0"},
    MetricInfo{"ratio/clamped", "share of tokens whose log-ratio to the old policy was cut at +-20", "0"},
    MetricInfo{"advantages/undefined",
               "completions left out because their group's advantage is not a number (a group of one)", "0"},
    MetricInfo{"rewards/soft_overlong/mean", "mean penalty of soft_punish_cache on the rewards",
               "rises to 0"},
    MetricInfo{"off_policy/masked", "share of tokens that off_policy_mask_threshold leaves out", "below 0.1"},
    MetricInfo{"grad_norm", "global L2 norm of the gradient before clipping",
               "steady; spikes are skipped when not finite"},
    MetricInfo{"learning_rate", "the schedule's value in this step", "-"},
    MetricInfo{"num_tokens", "targets that entered the loss, summed over the run", "-"},
    MetricInfo{"step", "optimizer steps done (rollout batches where num_iterations is above 1)", "-"},
    MetricInfo{"batch/loss_tokens", "targets that enter the loss in this step, rehearsed ones left out",
               "above 0"},
    MetricInfo{"rewards/min", "smallest score of the step's completions", "-"},
    MetricInfo{"rewards/max", "largest score of the step's completions", "-"},
    MetricInfo{"rewards/missing", "completions without a score: bad reference, timeout or failed judge", "0"},
    MetricInfo{"groups/single", "groups left with one scored completion, which has no baseline", "0"},
    MetricInfo{"completions/mean_length", "tokens of a completion, EOS included", "-"},
    MetricInfo{"completions/min_length", "tokens of the shortest completion", "-"},
    MetricInfo{"completions/max_length", "tokens of the longest completion", "-"},
    MetricInfo{"completions/*_terminated_length", "the same over completions that ended by themselves", "-"},
    MetricInfo{"completions/empty", "completions without a token", "0"},
    MetricInfo{"completions/masked_truncated",
               "completions left out of the loss by mask_truncated_completions", "below a tenth"},
    MetricInfo{"completions/clipped_ratio", "share of completions cut by max_completion_length", "below 0.1"},
    MetricInfo{"sampling/sampling_logp_difference/mean",
               "mean |learner's log-prob - worker's log-prob| of the sampled tokens",
               "below 1e-5 in fp32, 0.01 in bf16; more means the two do not run the same model"},
    MetricInfo{"sampling/sampling_logp_difference/max", "the same, largest token", "below 1e-3 in fp32"},
    MetricInfo{"sampling/importance_sampling_ratio/mean",
               "mean weight learner / sampler after importance_sampling_mode, over tokens", "near 1"},
    MetricInfo{"sampling/importance_sampling_ratio/dropped", "share of tokens with weight 0", "below 0.1"},
    MetricInfo{"sampling/importance_sampling_ratio/missing",
               "share of tokens whose sampler gave no finite log-prob: their weight is 1", "0"},
    MetricInfo{"dynamic_sampling/num_gen_batches", "batches of prompts drawn to fill the step",
               "far below max_num_gen_batches"},
    MetricInfo{"dynamic_sampling/trained_groups", "share of the drawn prompts that the step trains on",
               "above 0.3"},
    MetricInfo{"rewards/chosen",
               "mean over chosen rows of beta * score(log-ratio); tdpo: of beta * (log-ratio + "
               "divergence); reward: of the model's score",
               "rises against rewards/rejected"},
    MetricInfo{"rewards/rejected", "the same over rejected rows", "falls"},
    MetricInfo{"rewards/margins", "rewards/chosen - rewards/rejected", "rises"},
    MetricInfo{"rewards/accuracies", "share of pairs with a positive margin", "rises to 0.6 ... 0.9"},
    MetricInfo{
        "rewards/ece",
        "calibration error of the implicit rewards in 10 bins: sum over bins |sum of sigma(|margin|) - "
        "pairs ordered rightly| / pairs",
        "near 0; much of it with few pairs is noise"},
    MetricInfo{"rewards/dpo_margins",
               "tdpo: beta * (log-ratio of the chosen - of the rejected), DPO's margin", "rises"},
    MetricInfo{"pairs/empty", "share of pairs with a completion without tokens; its log-ratio is 0", "0"},
    MetricInfo{"pairs/identical", "share of pairs whose two texts are equal: they teach dpo nothing", "0"},
    MetricInfo{"pairs/dropped", "share of pairs left out for a log-prob that is not finite", "0"},
    MetricInfo{"pairs/guarded", "dpo: share of pairs beyond f_exponent_cap, where the link is linear",
               "near 0; more asks for a smaller beta"},
    MetricInfo{"tdpo/seq_kl_chosen",
               "mean over chosen rows of the divergence to the reference summed over tokens, exact over the "
               "vocabulary (KL(reference || policy), or f_divergence_type's)",
               "grows slowly; faster with tdpo1"},
    MetricInfo{"tdpo/seq_kl_rejected", "the same over rejected rows", "near tdpo/seq_kl_chosen"},
    MetricInfo{"tdpo/seq_kl_margin", "mean of |tdpo/seq_kl_chosen - tdpo/seq_kl_rejected| of a pair",
               "small; what tdpo2 holds down and dpo does not"},
    MetricInfo{"tdpo/kl_per_token", "the same divergence per token, whatever the lengths", "grows slowly"},
    MetricInfo{"logps/chosen", "mean summed log-prob of chosen completions", "should not fall without end"},
    MetricInfo{"logps/rejected", "mean summed log-prob of rejected completions", "falls"},
    MetricInfo{"objective/kl",
               "ppo: mean over completions of the summed log-ratio to the reference, as they were sampled, "
               "in nats",
               "grows slowly; kl_target is in its unit"},
    MetricInfo{"objective/kl_coef", "ppo: beta of this step", "steady; moves with kl_target"},
    MetricInfo{"objective/entropy", "ppo: mean over completions of minus the summed log-prob",
               "falls slowly; a fall to 0 is collapse"},
    MetricInfo{"objective/scores", "ppo: mean of the judge's scores", "rises"},
    MetricInfo{"objective/non_score_reward",
               "ppo: mean over completions of -beta times the summed KL estimate",
               "small against objective/scores"},
    MetricInfo{"objective/rlhf_reward", "objective/scores + objective/non_score_reward: what ppo maximises",
               "rises"},
    MetricInfo{"loss/policy_avg", "ppo: the clipped surrogate, mean over tokens", "near 0 and says little"},
    MetricInfo{"loss/value_avg", "ppo: half the critic's clipped squared error, mean over tokens", "falls"},
    MetricInfo{"policy/approxkl_avg",
               "ppo: half the squared log-ratio to the policy at the start of the update, mean over tokens",
               "below 0.05; more means steps are too large"},
    MetricInfo{"policy/clipfrac_avg", "ppo: share of tokens whose surrogate is clipped", "below 0.2"},
    MetricInfo{"val/clipfrac_avg", "ppo: share of tokens whose value moved beyond cliprange_value",
               "below 0.2"},
    MetricInfo{"val/ratio", "ppo: mean ratio to the policy at the start of the update", "near 1"},
    MetricInfo{"val/explained_variance", "ppo: 1 - Var(returns - values) / Var(returns), before the update",
               "rises towards 1; below 0 the critic is worse than a constant"},
    MetricInfo{"critic/grad_norm", "ppo: L2 norm of the critic's gradient before clipping", "steady"},
    MetricInfo{"accuracy", "reward: share of pairs whose chosen side has the higher score",
               "rises; 0.5 is chance"},
    MetricInfo{"margin", "reward: mean score of chosen minus rejected rows", "rises"},
    MetricInfo{"mean_reward", "reward: mean score over both sides",
               "near 0 with center_rewards_coefficient; else its zero is free"},
    MetricInfo{"divergence/forward_kl",
               "f_dpg: KL(target || policy) of whole completions, by importance weights",
               "falls towards 0; noisy, and may go below it, while fdpg/ess is near 1"},
    MetricInfo{
        "divergence/reverse_kl",
        "f_dpg: KL(policy || target) of whole completions; absent while a sample lies outside the target",
        "falls towards 0"},
    MetricInfo{"divergence/total_variation", "f_dpg: 1/2 sum |policy - target|, by importance weights",
               "falls from at most 1 towards 0"},
    MetricInfo{"divergence/jensen_shannon",
               "f_dpg: Jensen-Shannon divergence of policy and target, at most log 2", "falls towards 0"},
    MetricInfo{"fdpg/moment/*", "mean score of a constrained reward over the step's completions",
               "goes to the constraint's moment"},
    MetricInfo{"fdpg/z",
               "mean over prompts of the partition function: mean weight P/q of their samples (f_dpg.z)",
               "settles; for point-wise constraints the share of the reference that meets them"},
    MetricInfo{"fdpg/log_z", "mean over prompts of log Z", "settles"},
    MetricInfo{"fdpg/log_z_drift", "mean over prompts seen before of |log Z - log Z before this step|",
               "falls towards 0; optima of js, tv and chi-squared move as long as it does not"},
    MetricInfo{"fdpg/ess", "mean over prompts of the samples their weights are worth: (sum w)^2 / sum w^2",
               "well above 1, at most num_generations; near 1 one sample decides"},
    MetricInfo{"fdpg/pseudo_reward", "mean of -f'(pi/p), with which f_dpg rewards a completion",
               "goes to its value at the target: -f'(1)"},
    MetricInfo{"fdpg/pseudo_reward_std", "mean over prompts of the pseudo-rewards' standard deviation",
               "falls"},
    MetricInfo{"fdpg/zero_target", "share of completions the target excludes (P = 0)", "falls"},
    MetricInfo{"fdpg/zero_z", "share of prompts none of whose samples the target allows: no gradient",
               "below 0.5; else more num_generations, or an easier start"},
    MetricInfo{"fdpg/dropped", "completions without a score, or that the policy has lost", "0"},
    MetricInfo{"fdpg/capped_rewards", "share of pseudo-rewards cut at f_dpg.pseudo_reward_max",
               "below 0.1; the cut biases towards modes"},
    MetricInfo{"fdpg/capped_ratios", "share of importance ratios cut at f_dpg.log_rho_max", "0"},
    MetricInfo{"fdpg/kl_to_base", "f_dpg: KL(policy || reference) of whole completions",
               "grows to that of the target and stays"},
    MetricInfo{"divergence/*",
               "dph_rl: mean over rehearsed tokens of this f-divergence's term to the initial policy",
               "small and bounded; a steady rise is forgetting"},
    MetricInfo{"dph/log_ratio", "mean over rehearsed tokens of log(policy / initial policy)", "near 0"},
    MetricInfo{"dph/share_lost", "share of rehearsed tokens that the policy has nearly lost", "near 0"},
    MetricInfo{"dph/share_above_delta_max", "share of rehearsed tokens whose log-ratio is above delta_max",
               "near 0"},
    MetricInfo{"dph/rehearsal_rows", "stored samples rehearsed in the step",
               "presample.rehearsal_per_step; 0: nothing was near-perfect"},
    MetricInfo{"dph/skipped_tokens", "rehearsed tokens whose stored log-prob is not finite", "0"},
    MetricInfo{"eval_pass@k",
               "unbiased estimate of the chance that one of k samples is correct: 1 - C(n-c,k)/C(n,k)",
               "for every k at or above the start's"},
    MetricInfo{"eval_maj@k", "share of problems whose most frequent answer among k is correct", "rises"},
    MetricInfo{"eval_reward", "mean reward on val_files", "rises"},
    MetricInfo{"guards/skipped_steps", "optimizer steps skipped for a non-finite loss or gradient, so far",
               "0"},
    MetricInfo{"guards/zero_gradient",
               "share of the step's updates that were left out because no row had anything to teach", "0"},
    MetricInfo{"timing_s/*", "seconds of a stage: gen, reward, update_actor, testing", "-"},
    MetricInfo{"perf/throughput", "tokens of completions generated per second of the step", "steady"},
};

struct ExplainOptions {
  std::string name;
  std::string format = "table";
};

// Whether `entry` of the table is about the metric `name`.
bool describes(std::string_view entry, std::string_view name) {
  if (const size_t star = entry.find('*'); star != std::string_view::npos) {
    const std::string_view begin = entry.substr(0, star), end = entry.substr(star + 1);
    return name.size() >= begin.size() + end.size() && name.starts_with(begin) && name.ends_with(end);
  }
  if (entry.ends_with("@k") && name.starts_with(entry.substr(0, entry.size() - 1))) {
    const std::string_view k = name.substr(entry.size() - 1);
    return k == "k" || (!k.empty() && k.find_first_not_of("0123456789") == std::string_view::npos);
  }
  return entry == name;
}

const MetricInfo* find_metric(std::string_view name) {
  constexpr std::string_view kEval = "eval_";
  const auto found = std::find_if(kMetrics.begin(), kMetrics.end(),
                                  [&](const MetricInfo& m) { return describes(m.name, name); });
  if (found != kMetrics.end()) return &*found;
  return name.starts_with(kEval) ? find_metric(name.substr(kEval.size())) : nullptr;
}

int explain(const ExplainOptions& o) {
  Table table{{"metric", "what it is", "healthy"}, {}};
  std::vector<std::string> names;
  for (const MetricInfo& m : kMetrics) {
    names.emplace_back(m.name);
    if (o.name.empty() || find_metric(o.name) == &m) {
      table.rows.push_back({{"metric", m.name}, {"what it is", m.formula}, {"healthy", m.healthy}});
    }
  }
  if (table.rows.empty()) {
    const std::string near = nearest_name(o.name, names);
    return report(not_found(
        "no metric is called " + in_quotes(o.name) +
        (near.empty() ? "; `fulcrum explain` lists them" : "; did you mean " + in_quotes(near) + "?")));
  }
  if (o.name.empty() || o.format != "table") {
    std::fputs(render(table, o.format).c_str(), stdout);
  } else {
    const Json& row = table.rows.front();
    std::printf("%s\n  is       %s\n  healthy  %s\n", row["metric"].get<std::string>().c_str(),
                row["what it is"].get<std::string>().c_str(), row["healthy"].get<std::string>().c_str());
  }
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  add_verb<ExplainOptions>(app, action, "explain",
                           "what a metric is and what is healthy; all metrics without an argument", explain,
                           [](CLI::App& v, ExplainOptions& o) {
                             v.add_option("metric", o.name, "the metric's name");
                             add_output_option(v, o.format);
                           });
}

}  // namespace fulcrum::cli
