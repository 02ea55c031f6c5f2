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
    MetricInfo{"kl", "per-token estimate (kl_estimator) of KL(policy || reference)",
               "small and slowly growing"},
    MetricInfo{"clip_ratio/low_mean", "share of tokens clipped at 1 - epsilon (advantage < 0)", "below 0.2"},
    MetricInfo{"clip_ratio/high_mean", "share of tokens clipped at 1 + epsilon_high (advantage > 0)",
               "below 0.2"},
    MetricInfo{"clip_ratio/region_mean", "share of tokens clipped on either side", "below 0.2"},
    MetricInfo{"grad_norm", "global L2 norm of the gradient before clipping",
               "steady; spikes are skipped when not finite"},
    MetricInfo{"learning_rate", "the schedule's value in this step", "-"},
    MetricInfo{"num_tokens", "targets that entered the loss, summed over the run", "-"},
    MetricInfo{"step", "optimizer steps done (rollout batches where num_iterations is above 1)", "-"},
    MetricInfo{"batch/loss_tokens", "targets that enter the loss in this step, rehearsed ones left out",
               "above 0"},
    MetricInfo{"ratio/clamped", "share of tokens whose log-ratio to the sampling policy was cut at its bound",
               "0"},
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
    MetricInfo{"rewards/chosen", "mean of beta * score(log-ratio) over chosen rows",
               "rises against rewards/rejected"},
    MetricInfo{"rewards/rejected", "mean of beta * score(log-ratio) over rejected rows", "falls"},
    MetricInfo{"rewards/margins", "rewards/chosen - rewards/rejected", "rises"},
    MetricInfo{"rewards/accuracies", "share of pairs with a positive margin", "rises to 0.6 ... 0.9"},
    MetricInfo{"logps/chosen", "mean summed log-prob of chosen completions", "should not fall without end"},
    MetricInfo{"logps/rejected", "mean summed log-prob of rejected completions", "falls"},
    MetricInfo{"pairs/empty", "share of pairs with an answer of no tokens", "0"},
    MetricInfo{"pairs/identical", "share of pairs whose two answers are the same tokens", "0"},
    MetricInfo{"pairs/guarded", "share of pairs whose log-ratio was cut so that the link stays finite", "0"},
    MetricInfo{"divergence/*", "mean over rehearsed tokens of this f-divergence's term to the initial policy",
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
