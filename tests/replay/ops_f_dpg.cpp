// f_dpg.json through the product's code. Per-sequence scalars are double in the product whatever the models
// compute in, so blocks of nothing else are skipped in float32; what runs on tensors (the generators, exact
// divergences, the loss and its gradient) runs in both.
#include <ATen/ATen.h>

#include <cmath>
#include <stdexcept>

#include "engine/objective/f_dpg_estimates.h"
#include "engine/objective/f_dpg_gradient.h"
#include "engine/objective/f_dpg_target.h"
#include "engine/objective/f_dpg_z.h"
#include "engine/objective/max_entropy.h"
#include "tests/replay/replay.h"

namespace fulcrum::replay {
namespace {

using generators::kInfinity;

const std::map<std::string, std::string> kTableNames = {
    {"kl", "forward_kl"},        {"rkl", "reverse_kl"},         {"js", "js_divergence"},
    {"tv", "total_variation"},   {"alpha", "alpha_divergence"}, {"chi2_p_pi", "reverse_chi_squared"},
    {"chi2_pi_p", "chi_squared"}};

template <class T>
T value_of(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().message());
  return std::move(result).value();
}

std::shared_ptr<const Divergence> divergence_of(const Json& item) {
  const auto id = item.at("divergence").get<std::string>();
  const auto name = kTableNames.find(id);
  if (name == kTableNames.end()) throw std::invalid_argument("unknown divergence " + id);
  return value_of(make_divergence(name->second, {.alpha = number_or(item, "alpha", 0.5)}));
}

double alpha_of(const Json& item) { return std::max(1.0, std::abs(number_or(item, "alpha", 1))); }

Tolerance tolerance(Precision precision, double log_ratio, double alpha = 1) {
  if (precision == Precision::kFloat64) return {};
  const double scale = std::isfinite(log_ratio) ? std::max(1.0, std::abs(log_ratio) * alpha / 10) : 1;
  return {.relative = 2e-5 * scale, .absolute = 2e-6};
}

at::ScalarType dtype_of(Precision precision) {
  return precision == Precision::kFloat64 ? at::kDouble : at::kFloat;
}

bool beyond_float(const Json& value) {
  if (value.is_string()) return false;
  return std::abs(number(value)) > 3.4e38;
}

std::vector<double> to_vector(const at::Tensor& x) {
  const at::Tensor d = x.detach().to(at::kDouble).contiguous();
  return {d.const_data_ptr<double>(), d.const_data_ptr<double>() + d.numel()};
}

void pseudo_rewards(const Json& item, Precision precision, Tally& tally) {
  const Json& e = item.at("expected");
  if (precision == Precision::kFloat32 && !e.value("fp32_finite", true)) return tally.skipped();
  tally.ran();
  const auto divergence = divergence_of(item);
  const std::vector<SampleScores> sample = {
      {.log_policy = number(item.at("log_pi")), .log_target = number(item.at("log_P"))}};
  const std::vector<double> log_z = {number(item.at("log_Z"))};
  const GradientRule raw{PseudoReward(divergence, std::nullopt), {.kind = Baseline::Kind::kNone}};
  const GradientRule centred{PseudoReward(divergence, std::nullopt), {.kind = Baseline::Kind::kCentre}};
  const SampleWeights weights = raw(sample, log_z);
  const double log_t = weights.log_t[0];
  const Tolerance t = tolerance(precision, log_t, alpha_of(item));
  tally.near(log_t, e.at("log_t"), t, "log_t");
  if (precision == Precision::kFloat64) {
    tally.near(-weights.pseudo_reward[0], e.at("f_prime"), t, "f_prime");
    tally.near(weights.pseudo_reward[0], e.at("pseudo_reward"), t, "pseudo_reward");
    tally.near(centred(sample, log_z).advantage[0], e.at("pseudo_reward_centred"), t,
               "pseudo_reward_centred");
    return;
  }
  const at::Tensor l = at::tensor(std::vector<double>{log_t}, at::kDouble).to(at::kFloat);
  tally.near(divergence->slope(l).item<double>(), e.at("f_prime"), t, "f_prime");
  tally.near(-divergence->slope(l).item<double>(), e.at("pseudo_reward"), t, "pseudo_reward");
  tally.near(-divergence->score(l).item<double>(), e.at("pseudo_reward_centred"), t, "pseudo_reward_centred");
}

// One sample an outcome, drawn by the uniform distribution: then the estimator is the exact expectation.
std::vector<SampleScores> every_outcome(const std::vector<double>& log_pi, const std::vector<double>& log_P) {
  std::vector<SampleScores> out;
  const double log_q = -std::log(static_cast<double>(log_pi.size()));
  for (size_t k = 0; k < log_pi.size(); ++k) out.push_back({log_pi[k], log_P[k], log_q});
  return out;
}

void enumerable(const Json& item, Precision precision, Tally& tally) {
  tally.ran();
  const Json& e = item.at("expected");
  const auto divergence = divergence_of(item);
  const std::vector<double> logits = numbers(item.at("policy_logits")), log_P = numbers(item.at("log_P"));
  const double normaliser = log_sum_exp(logits);
  std::vector<double> log_pi;
  for (const double x : logits) log_pi.push_back(x - normaliser);
  const std::vector<SampleScores> samples = every_outcome(log_pi, log_P);
  std::vector<double> log_w;
  for (const SampleScores& s : samples) log_w.push_back(s.log_weight());
  PartitionSum sum;
  sum.add(log_w);
  const std::vector<double> log_z(samples.size(), sum.log_z());
  const Tolerance t = tolerance(precision, 0);
  tally.near(sum.log_z(), e.at("log_Z"), t, "log_Z");
  const GradientRule rule{PseudoReward(divergence, std::nullopt), {.kind = Baseline::Kind::kCentre}};
  const SampleWeights weights = rule(samples, log_z);
  std::vector<double> log_p;
  for (size_t k = 0; k < samples.size(); ++k) {
    log_p.push_back(log_P[k] - sum.log_z());
    tally.near(std::exp(log_pi[k]), e.at("pi")[k], t, "pi");
    tally.near(std::exp(log_p[k]), e.at("p")[k], t, "p");
    const Tolerance at_k = tolerance(precision, weights.log_t[k], alpha_of(item));
    tally.near(-weights.pseudo_reward[k], e.at("f_prime")[k], at_k, "f_prime");
  }
  const at::ScalarType dtype = dtype_of(precision);
  const at::Tensor theta_K = at::tensor(logits, at::kDouble).to(dtype).set_requires_grad(true);
  const at::Tensor log_pi_K = at::log_softmax(theta_K, -1);
  const at::Tensor value = divergence->exact(log_pi_K, at::tensor(log_p, at::kDouble).to(dtype));
  tally.near(value.item<double>(), e.at("divergence_value"), t, "divergence_value");
  if (e.at("grad_logits").is_string()) {
    bool finite = true;
    for (const double w : weights.weight) finite = finite && std::isfinite(w);
    if (finite) tally.fail("grad_logits: a number where there is none");
    return;
  }
  const at::Tensor weights_K = at::tensor(weights.weight, at::kDouble) / static_cast<double>(samples.size());
  surrogate_loss(log_pi_K, weights_K).backward();
  tally.near(to_vector(theta_K.grad()), e.at("grad_logits"), t, "grad_logits");
}

void rlhf_equivalence(const Json& item, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  tally.ran();
  const Json& e = item.at("expected");
  const double beta = number(item.at("beta")), log_a = number(item.at("log_a")),
               reward = number(item.at("reward"));
  const double log_pi = number(item.at("log_pi")), log_z = number(item.at("log_Z"));
  FDpgConfig config;
  config.target = "reward";
  const EnergyTarget target(config, beta);
  const double score = value_of(target.score({reward, {}}, {})).value();
  const PseudoReward rkl(value_of(make_divergence("reverse_kl")), std::nullopt);
  const GradientRule rule{rkl, {.kind = Baseline::Kind::kNone}};
  // Relative to log a, as the objective forms them.
  const std::vector<SampleScores> sample = {{.log_policy = log_pi - log_a, .log_target = score}};
  const double r = rule(sample, std::vector<double>{log_z}).pseudo_reward[0];
  tally.near(log_a + score, e.at("log_P"), {}, "log_P");
  tally.near(r, e.at("rkl_pseudo_reward"), {}, "rkl_pseudo_reward");
  // beta r = [reward - beta log(pi/a)] - beta (log Z + 1)
  tally.near(beta * (r + log_z + 1), e.at("kl_shaped_reward"), {}, "kl_shaped_reward");
}

void partition_function(const Json& block, Precision precision, Tally& tally) {
  for (const Json& item : block.at("cases")) {
    if (precision == Precision::kFloat32) {
      tally.skipped();
      continue;
    }
    tally.ran();
    PartitionSum all;
    const Json& batches = item.at("log_P_minus_log_q");
    for (size_t i = 0; i < batches.size(); ++i) {
      const std::vector<double> log_w = numbers(batches[i]);
      const Json& e = item.at("expected").at(i);
      all.add(log_w);
      PartitionSum batch;
      batch.add(log_w);
      tally.near(all.count, e.at("n"), {}, "n");
      tally.near(all.log_z(), e.at("log_Z_running"), {}, "log_Z_running");
      tally.near(batch.log_z(), e.at("log_Z_batch"), {}, "log_Z_batch");
      tally.near(all.log_ess(), e.at("log_ess"), {}, "log_ess");
    }
  }
}

void minibatch_case(const Json& block, const Json& item, Precision precision, Tally& tally) {
  const Json& e = item.at("expected");
  const std::vector<double> log_pi = numbers(block.at("log_pi"));
  const bool off = flag_or(item, "off_policy", false);
  const std::vector<double> log_q = off ? numbers(block.at("log_q_off_policy")) : log_pi;
  const std::vector<double> log_P =
      numbers(block.at("log_P_by_target").at(item.at("target").get<std::string>()));
  std::vector<SampleScores> samples;
  for (size_t i = 0; i < log_pi.size(); ++i) samples.push_back({log_pi[i], log_P[i], log_q[i]});
  const std::vector<double> log_z(samples.size(), number(block.at("log_Z")));
  const std::string name = text_or(item, "baseline", "none");
  const Baseline baseline = value_of(parse_baseline(name, number_or(item, "baseline_value", 0)));
  const SampleWeights w =
      GradientRule{PseudoReward(divergence_of(item), std::nullopt), baseline}(samples, log_z);
  if (precision == Precision::kFloat32 && !e.is_string() && beyond_float(e.at("surrogate_loss")))
    return tally.skipped();
  tally.ran();
  if (e.is_string()) {
    bool finite = true;
    for (const double x : w.weight) finite = finite && std::isfinite(x);
    if (finite) tally.fail("a number where there is none");
    return;
  }
  if (precision == Precision::kFloat64) {
    tally.near(w.importance, e.at("importance_ratio"), {}, "importance_ratio");
    tally.near(w.pseudo_reward, e.at("pseudo_reward"), {}, "pseudo_reward");
    tally.near(w.advantage, e.at("advantage"), {}, "advantage");
  }
  const auto n = static_cast<double>(samples.size());
  const at::Tensor log_pi_N = at::tensor(log_pi, at::kDouble).to(dtype_of(precision)).set_requires_grad(true);
  const at::Tensor loss = surrogate_loss(log_pi_N, at::tensor(w.weight, at::kDouble) / n);
  loss.backward();
  double largest = 0;
  for (const double l : w.log_t) largest = std::max(largest, std::isfinite(l) ? std::abs(l) : 0);
  const Tolerance t = tolerance(precision, largest, alpha_of(item));
  tally.near(loss.item<double>(), e.at("surrogate_loss"), t, "surrogate_loss");
  tally.near(to_vector(log_pi_N.grad()), e.at("grad_log_pi"), t, "grad_log_pi");
}

void minibatch(const Json& block, Precision precision, Tally& tally) {
  for (const Json& item : block.at("cases")) minibatch_case(block, item, precision, tally);
}

void divergence_estimators(const Json& item, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  tally.ran();
  const Json& e = item.at("expected");
  const std::vector<double> pi = numbers(item.at("log_pi")), q = numbers(item.at("log_q")),
                            P = numbers(item.at("log_P"));
  std::vector<SampleScores> samples;
  for (size_t i = 0; i < pi.size(); ++i) samples.push_back({pi[i], P[i], q[i]});
  const DivergenceEstimates d = estimate_divergences(samples, number(item.at("log_Z")));
  tally.near(d.forward_kl, e.at("kl_p_pi"), {}, "kl_p_pi");
  tally.near(d.reverse_kl, e.at("kl_pi_p"), {}, "kl_pi_p");
  tally.near(d.total_variation, e.at("tv"), {}, "tv");
  tally.near(d.jensen_shannon, e.at("jsd"), {}, "jsd");
}

void lambda_fit(const Json& block, Precision precision, Tally& tally) {
  for (const Json& item : block.at("cases")) {
    if (precision == Precision::kFloat32) {
      tally.skipped();
      continue;
    }
    tally.ran();
    const Json& e = item.at("expected");
    MomentProblem problem{.names_K = {},
                          .targets_K = numbers(item.at("target_moments")),
                          .features_NK = matrix(item.at("features")),
                          .log_weights_N = numbers(item.at("log_a_minus_log_q"))};
    for (size_t k = 0; k < problem.targets_K.size(); ++k)
      problem.names_K.push_back("feature " + std::to_string(k));
    std::vector<double> lambda(problem.targets_K.size(), 0.0);
    tally.near(tilt(problem, lambda).moments_K, e.at("initial_moments"), {}, "initial_moments");
    for (const Json& want : e.at("lambda_after_steps")) {
      lambda = ascend(problem, lambda, number(item.at("learning_rate")));
      tally.near(lambda, want, {}, "lambda_after_steps");
    }
    const MomentFit fit = value_of(fit_moments(problem));
    tally.near(fit.lambda_K, e.at("lambda_solution"), {}, "lambda_solution");
    tally.near(fit.log_z, e.at("log_Z_snis"), {}, "log_Z_snis");
  }
}

void alpha_dpg(const Json& block, Precision precision, Tally& tally) {
  for (const Json& item : block.at("cases")) {
    if (precision == Precision::kFloat32) {
      tally.skipped();
      continue;
    }
    tally.ran();
    const Json &in = item.at("inputs"), &e = item.at("expected");
    const std::vector<double> log_a = numbers(in.at("log_a")), log_pi = numbers(in.at("log_pi")),
                              v = numbers(in.at("reward"));
    std::vector<SampleScores> samples;
    std::vector<double> log_w;
    for (size_t i = 0; i < v.size(); ++i) {
      samples.push_back({log_pi[i] - log_a[i], std::log(v[i]), log_pi[i] - log_a[i]});
      log_w.push_back(samples[i].log_weight());
    }
    ZRule z{.kind = ZKind::kPerBatch, .log_max = 0};
    tally.near(std::exp(z(log_w, {})[0]), e.at("z"), {}, "z");
    z.log_if_zero = std::log(number(item.at("z_default")));
    const std::vector<double> log_z = z(log_w, {});
    tally.near(std::exp(log_z[0]), e.at("z_used"), {}, "z_used");
    const PseudoReward reward =
        value_of(PseudoReward::alpha_dpg(number(item.at("alpha")), number(item.at("clip"))));
    const SampleWeights w = GradientRule{reward, {.kind = Baseline::Kind::kLeaveOneOut}}(samples, log_z);
    tally.near(w.pseudo_reward, e.at("pseudo_reward"), {}, "pseudo_reward");
    tally.near(w.advantage, e.at("advantage"), {}, "advantage");
  }
}

}  // namespace

void add_f_dpg_ops(Ops& ops) {
  ops.add("f_dpg.pseudo_rewards", pseudo_rewards);
  ops.add("f_dpg.enumerable", enumerable);
  ops.add("f_dpg.rlhf_equivalence", rlhf_equivalence);
  ops.add("f_dpg.partition_function", partition_function);
  ops.add("f_dpg.minibatch", minibatch);
  ops.add("f_dpg.divergence_estimators", divergence_estimators);
  ops.add("f_dpg.lambda_fit", lambda_fit);
  ops.add("f_dpg.alpha_dpg", alpha_dpg);
}

}  // namespace fulcrum::replay
