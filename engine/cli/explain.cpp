// `fulcrum explain NAME`: what a metric is, which way is good, and what is healthy.
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
    MetricInfo{"kl", "per-token estimate (kl_estimator) of KL(policy || reference)",
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
    MetricInfo{"clip_ratio/low_mean", "share of tokens clipped at 1 - epsilon (advantage < 0)", "below 0.2"},
    MetricInfo{"clip_ratio/high_mean", "share of tokens clipped at 1 + epsilon_high (advantage > 0)",
               "below 0.2"},
    MetricInfo{"clip_ratio/region_mean", "share of tokens clipped on either side", "below 0.2"},
    MetricInfo{"grad_norm", "global L2 norm of the gradient before clipping",
               "steady; spikes are skipped when not finite"},
    MetricInfo{"learning_rate", "the schedule's value in this step", "-"},
    MetricInfo{"num_tokens", "targets that entered the loss, summed over the run", "-"},
    MetricInfo{"completions/mean_length", "tokens of a completion, EOS included", "-"},
    MetricInfo{"completions/clipped_ratio", "share of completions cut by max_completion_length", "below 0.1"},
    MetricInfo{"sampling/sampling_logp_difference/mean",
               "mean |learner's log-prob - worker's log-prob| of the sampled tokens",
               "below 1e-5 in fp32, 0.01 in bf16; more means the two do not run the same model"},
    MetricInfo{"sampling/sampling_logp_difference/max", "the same, largest token", "below 1e-3 in fp32"},
    MetricInfo{"rewards/chosen", "mean of beta * score(log-ratio) over chosen rows",
               "rises against rewards/rejected"},
    MetricInfo{"rewards/rejected", "mean of beta * score(log-ratio) over rejected rows", "falls"},
    MetricInfo{"rewards/margins", "rewards/chosen - rewards/rejected", "rises"},
    MetricInfo{"rewards/accuracies", "share of pairs with a positive margin", "rises to 0.6 ... 0.9"},
    MetricInfo{"logps/chosen", "mean summed log-prob of chosen completions", "should not fall without end"},
    MetricInfo{"logps/rejected", "mean summed log-prob of rejected completions", "falls"},
    MetricInfo{"eval_pass@k",
               "unbiased estimate of the chance that one of k samples is correct: 1 - C(n-c,k)/C(n,k)",
               "for every k at or above the start's"},
    MetricInfo{"eval_maj@k", "share of problems whose most frequent answer among k is correct", "rises"},
    MetricInfo{"eval_reward", "mean reward on val_files", "rises"},
    MetricInfo{"guards/skipped_steps", "optimizer steps skipped for a non-finite loss or gradient, so far",
               "0"},
    MetricInfo{"timing_s/*", "seconds of a stage: gen, reward, update_actor, testing, save_checkpoint, step",
               "-"},
    MetricInfo{"perf/throughput", "tokens of completions generated per second of the step", "steady"},
};

struct ExplainOptions {
  std::string name;
  std::string format = "table";
};

int explain(const ExplainOptions& o) {
  Table table{{"metric", "what it is", "healthy"}, {}};
  std::vector<std::string> names;
  for (const MetricInfo& m : kMetrics) {
    names.emplace_back(m.name);
    if (o.name.empty() || o.name == m.name) {
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
