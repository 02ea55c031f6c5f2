// f-DPG (Go et al., arXiv 2302.08215) and alpha-DPG (Kruszewski et al., arXiv 2512.05962): the policy is
// brought to a target p(x) = P(x)/Z, known only by its energy (f_dpg_target.h), by any divergence of the
// table:
//   grad D_f(pi || p) = E_{x~pi}[f'(pi/p) grad log pi(x)]                                     theorem 1
//   loss = -1/C sum_c 1/N_c sum_i sg[rho_i A_i] log pi(x_i),   rho = pi/q,   A = -f'(pi Z/P) - b
// over C prompts, whole completions (sums, never means of tokens). q is what drew them: log-probs as the
// rollout reported them, so that an older policy and another engine are both accounted for.
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cmath>

#include "engine/core/text.h"
#include "engine/objective/advantages.h"
#include "engine/objective/f_dpg_contexts.h"
#include "engine/objective/f_dpg_estimates.h"
#include "engine/objective/f_dpg_gradient.h"
#include "engine/objective/f_dpg_target.h"
#include "engine/objective/f_dpg_z.h"
#include "engine/objective/masked.h"
#include "engine/objective/methods.h"
#include "engine/objective/rollout_metrics.h"
#include "engine/objective/surrogate.h"

namespace fulcrum {
namespace {

using generators::kInfinity;

constexpr const char* kZ = "f_dpg.z";
// Above it a single completion would decide the step, and its square overflow the gradient's norm in float.
constexpr double kLargestWeight = 1e18;
// alpha-DPG's constants, from the authors' code.
constexpr double kAlphaRewardMax = 10, kAlphaZIfZero = 1e-4;

struct FDpgOptions {
  EnergyTarget target;
  GradientRule rule;
  ZRule z;
  double length_divisor = 1;  // alpha-DPG divides the loss by a constant length
  bool several_updates = false;
};

void add_sample_metrics(const TrainBatch& batch, const std::vector<Context>& contexts, Metrics& metrics) {
  int64_t kept = 0, outside = 0;
  for (const Context& c : contexts) {
    kept += std::ssize(c.rows);
    for (const SampleScores& s : c.samples) outside += s.log_target == -kInfinity;
  }
  add_metric(metrics, "fdpg/dropped", static_cast<double>(batch.num_rows() - kept));
  add_metric(metrics, "fdpg/zero_target", static_cast<double>(outside), static_cast<double>(kept));
}

class FDpg final : public Objective {
 public:
  explicit FDpg(FDpgOptions options) : options_(std::move(options)) {}

  Needs needs() const override {
    return {.old_logps = options_.several_updates, .policy_logps = true, .reference_logps = true};
  }

  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics) const override {
    TRY(lambda, lambda_of(state));
    TRY(contexts, collect_contexts(batch, options_.target, lambda));
    add_sample_metrics(batch, contexts, metrics);
    batch.advantages.assign(static_cast<size_t>(batch.num_targets()), 0.0F);
    settle(batch);
    ZBook book(state.values[kZ]);
    if (options_.z.kind == ZKind::kRunning) {
      add_weights(contexts, book, metrics);
      state.values[kZ] = book.save();
    } else {
      // Z of a single sample is its own weight: pi/p is 1 whatever it is.
      std::erase_if(contexts, [](const Context& c) { return c.samples.size() < 2; });
    }
    Metrics by_prompt;
    for (const Context& c : contexts) TRY_DO(weigh(c, book[c.prompt_row], batch, by_prompt));
    // A mean over prompts is no number where it is infinite: a reverse KL as long as one completion lies
    // outside the target, a Z beyond a double (fdpg/log_z still tells).
    std::erase_if(by_prompt, [](const auto& m) { return !std::isfinite(m.second.sum); });
    merge_metrics(metrics, by_prompt);
    return add_rollout_metrics(batch, metrics);
  }

  // A prompt that will turn out to teach nothing, for a Z of 0 or a single sample, has a gradient of 0 in the
  // mean over prompts; it does not leave it.
  void settle(TrainBatch& batch) const override {
    const auto contexts = static_cast<double>(count_contexts(batch, options_.target));
    batch.denominator = std::max<double>(1, contexts) * options_.length_divisor;
  }

  Result<LossOutput> loss(const LossInput& input) const override {
    TRY_DO(check_finite(input, input.logps_N, input.mask_N, "policy's log-prob"));
    TRY_DO(check_finite(input, input.advantages_N, input.mask_N, "weight"));
    LossOutput out;
    at::Tensor weights_N = keep(input.advantages_N, input.mask_N).to(at::kDouble);
    // The policy has moved since prepare(): rho follows it.
    if (input.old_logps_N.defined()) {
      TRY_DO(check_finite(input, input.old_logps_N, input.mask_N, "old log-prob"));
      const at::Tensor moved_R =
          row_sums(input, input.logps_N.detach() - keep(input.old_logps_N, input.mask_N), input.mask_N);
      weights_N = weights_N * at::index_select(at::clamp_max(moved_R, kLogRatioBound).exp(), 0, input.row_N);
      add_metric(out.metrics, "ratio/clamped", (moved_R > kLogRatioBound).sum().item<double>(),
                 static_cast<double>(input.batch.num_rows()));
    }
    out.loss = surrogate_loss(keep(input.logps_N, input.mask_N), weights_N) / input.batch.denominator;
    return out;
  }

 private:
  Result<std::vector<double>> lambda_of(const ObjectiveState& state) const {
    const auto found = state.values.find(kFDpgLambda);
    std::vector<double> lambda = found == state.values.end() ? std::vector<double>() : found->second;
    if (lambda.size() != options_.target.tilted().size()) {
      return internal_error("f_dpg has " + std::to_string(options_.target.tilted().size()) +
                            " constraints to be fitted, but the state holds " +
                            std::to_string(lambda.size()) + " fitted numbers");
    }
    return lambda;
  }

  void add_weights(const std::vector<Context>& contexts, ZBook& book, Metrics& metrics) const;
  Status weigh(const Context& context, const PartitionSum& so_far, TrainBatch& batch, Metrics& metrics) const;
  Status check_weight(const BatchRow& row, const SampleWeights& weights, size_t i) const;
  void add_context_metrics(const Context& context, double log_z, const SampleWeights& weights,
                           Metrics& metrics) const;
  Status add_rollout_metrics(const TrainBatch& batch, Metrics& metrics) const;

  FDpgOptions options_;
};

// All samples of the step enter Z before it is used.
void FDpg::add_weights(const std::vector<Context>& contexts, ZBook& book, Metrics& metrics) const {
  std::map<int64_t, double> before;
  for (const Context& c : contexts) before.emplace(c.prompt_row, book[c.prompt_row].log_z());
  for (const Context& c : contexts) book[c.prompt_row].add(c.log_weights);
  for (const auto& [row, log_z] : before) {
    if (std::isfinite(log_z)) add_metric(metrics, "fdpg/log_z_drift", std::abs(book[row].log_z() - log_z));
  }
}

Status FDpg::weigh(const Context& context, const PartitionSum& so_far, TrainBatch& batch,
                   Metrics& metrics) const {
  const std::vector<double> log_z = options_.z(context.log_weights, so_far);
  const bool nothing = *std::max_element(log_z.begin(), log_z.end()) == -kInfinity;
  add_metric(metrics, "fdpg/zero_z", nothing);
  if (nothing) return ok_status();
  const SampleWeights weights = options_.rule(context.samples, log_z);
  const auto n = static_cast<double>(context.samples.size());
  for (size_t i = 0; i < context.rows.size(); ++i) {
    const BatchRow& row = batch.rows[context.rows[i]];
    TRY_DO(check_weight(row, weights, i));
    std::fill(batch.advantages.begin() + row.target_begin, batch.advantages.begin() + row.target_end,
              static_cast<float>(weights.weight[i] / n));
  }
  double mean_log_z = 0;
  for (const double each : log_z) mean_log_z += each / n;
  add_context_metrics(context, mean_log_z, weights, metrics);
  return ok_status();
}

Status FDpg::check_weight(const BatchRow& row, const SampleWeights& weights, size_t i) const {
  if (std::abs(weights.weight[i]) < kLargestWeight) return ok_status();
  const std::string divergence = in_quotes(options_.rule.reward.divergence().name());
  const auto [lowest, highest] = std::minmax_element(weights.log_t.begin(), weights.log_t.end());
  // Through the baseline one such completion spoils its whole prompt.
  if (*highest == kInfinity && std::isinf(options_.rule.reward(kInfinity))) {
    return data_loss("a completion of prompt row " + std::to_string(row.prompt_row) +
                     " lies outside the target, where the slope of " + divergence +
                     " is infinite; use an f_divergence_type with a finite one, as js_divergence");
  }
  const auto [least, most] = std::minmax_element(weights.pseudo_reward.begin(), weights.pseudo_reward.end());
  std::vector<std::string> remedies = {"use js_divergence, whose pseudo-rewards grow slowly"};
  if (*most > -*least) remedies.insert(remedies.begin(), "set f_dpg.pseudo_reward_max");
  if (const std::string advice = options_.target.advice(); !advice.empty()) remedies.push_back(advice);
  return data_loss("the pseudo-rewards of " + divergence + " of prompt row " +
                   std::to_string(row.prompt_row) +
                   " are out of range (log(pi/p) of its samples: " + std::to_string(*lowest) + " to " +
                   std::to_string(*highest) + "); " + join(remedies, ", or "));
}

void FDpg::add_context_metrics(const Context& context, double log_z, const SampleWeights& weights,
                               Metrics& metrics) const {
  const auto n = static_cast<double>(context.samples.size());
  PartitionSum sum;
  sum.add(context.log_weights);
  add_metric(metrics, "fdpg/z", std::exp(log_z));
  add_metric(metrics, "fdpg/log_z", log_z);
  add_metric(metrics, "fdpg/ess", std::exp(sum.log_ess()));
  double reward = 0, square = 0;
  for (size_t i = 0; i < context.samples.size(); ++i) {
    if (context.in_base[i])
      add_metric(metrics, "fdpg/kl_to_base", weights.importance[i] * context.samples[i].log_policy);
  }
  for (const double r : weights.pseudo_reward) reward += r;
  for (const double r : weights.pseudo_reward) square += (r - reward / n) * (r - reward / n);
  add_metric(metrics, "fdpg/pseudo_reward", reward, n);
  add_metric(metrics, "fdpg/pseudo_reward_std", std::sqrt(square / std::max(1.0, n - 1)));
  add_metric(metrics, "fdpg/capped_rewards", static_cast<double>(weights.capped_rewards), n);
  add_metric(metrics, "fdpg/capped_ratios", static_cast<double>(weights.capped_importance), n);
  const DivergenceEstimates d = estimate_divergences(context.samples, log_z);
  add_metric(metrics, "divergence/forward_kl", d.forward_kl);
  add_metric(metrics, "divergence/reverse_kl", d.reverse_kl);
  add_metric(metrics, "divergence/total_variation", d.total_variation);
  add_metric(metrics, "divergence/jensen_shannon", d.jensen_shannon);
}

Status FDpg::add_rollout_metrics(const TrainBatch& batch, Metrics& metrics) const {
  std::vector<std::optional<double>> rewards;
  std::vector<int64_t> groups;
  for (const BatchRow& row : batch.rows) {
    rewards.push_back(row.has_reward ? std::optional(row.reward) : std::nullopt);
    groups.push_back(row.group);
    for (const std::string& name : options_.target.features()) {
      if (const auto found = row.parts.find(name); found != row.parts.end())
        add_metric(metrics, "fdpg/moment/" + name, found->second);
    }
  }
  add_reward_metrics(rewards, group_advantages(rewards, groups, {}), ScaleRewards::By::kGroup, metrics);
  add_length_metrics(batch, metrics);
  return ok_status();
}

Result<FDpgOptions> options_of(const ObjectiveConfig& config, PseudoReward reward) {
  TRY(baseline, parse_baseline(config.f_dpg.baseline, config.f_dpg.baseline_value));
  TRY(z, parse_z(config.f_dpg.z));
  return FDpgOptions{.target = EnergyTarget(config.f_dpg, config.beta),
                     .rule = {std::move(reward), baseline, config.f_dpg.log_rho_max},
                     .z = {.kind = z},
                     .several_updates = config.several_updates()};
}

}  // namespace

Result<std::unique_ptr<Objective>> make_f_dpg(const ObjectiveConfig& config) {
  TRY(divergence, make_divergence(config.divergence(), config.divergence_options()));
  TRY(made, options_of(config, PseudoReward(std::move(divergence), config.f_dpg.pseudo_reward_max)));
  return std::unique_ptr<Objective>(std::make_unique<FDpg>(std::move(made)));
}

// The rules of alpha-DPG are fixed: alpha_divergence without its factor 1/(1 - alpha), cut at 10; Z from the
// step's own samples, at most 1, 1e-4 where none has weight; leave-one-out; a constant length.
Result<std::unique_ptr<Objective>> make_alpha_dpg(const ObjectiveConfig& config) {
  TRY(reward, PseudoReward::alpha_dpg(config.f_alpha_divergence_coef,
                                      config.f_dpg.pseudo_reward_max.value_or(kAlphaRewardMax)));
  TRY(made, options_of(config, std::move(reward)));
  made.z = {.kind = ZKind::kPerBatch, .log_max = 0, .log_if_zero = std::log(kAlphaZIfZero)};
  made.length_divisor = static_cast<double>(config.max_completion_length);
  return std::unique_ptr<Objective>(std::make_unique<FDpg>(std::move(made)));
}

}  // namespace fulcrum
