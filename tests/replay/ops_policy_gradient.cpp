// The operations of policy_gradient.json on advantages, rewards, sampling and the KL estimators. The token
// losses are in ops_surrogates.cpp, PPO's own operations in ops_ppo.cpp.
#include <torch/csrc/autograd/autograd.h>

#include <map>

#include "engine/divergence/kl_estimators.h"
#include "engine/objective/advantages.h"
#include "engine/objective/overlong.h"
#include "engine/objective/prox_approx.h"
#include "engine/objective/reward_to_go.h"
#include "engine/objective/surrogate.h"
#include "engine/objective/whiten.h"
#include "engine/pipeline/dynamic_sampling.h"
#include "engine/pipeline/staleness.h"
#include "tests/replay/masked_step.h"

namespace fulcrum::replay {
namespace {

std::vector<int64_t> integers(const Json& list) { return list.get<std::vector<int64_t>>(); }

std::vector<std::optional<double>> rewards_of(const Json& in) {
  const std::vector<double> values = numbers(in.at("rewards"));
  return {values.begin(), values.end()};
}

// The file calls two presets by the library's name where the config has TRL's.
ScaleRewards preset(const std::string& name) {
  return *parse_scale_rewards(name == "trl" ? "group" : name == "dr_grpo" ? "none" : name);
}

void group_advantage(const Json& in, const Json& want, Tally& tally) {
  const Advantages got =
      group_advantages(rewards_of(in), integers(in.at("group")), preset(in.at("preset").get<std::string>()));
  tally.near(got.values, want.at("advantage"), {}, "advantage");
}

void rloo(const Json& in, const Json& want, Tally& tally) {
  const auto single = in.at("single") == "raw" ? ScaleRewards::Single::kRaw : ScaleRewards::Single::kZero;
  const Advantages got = leave_one_out_advantages(rewards_of(in), integers(in.at("group")), single);
  tally.near(got.values, want.at("advantage"), {}, "advantage");
}

std::vector<uint8_t> flat_mask(const Json& mask) {
  std::vector<uint8_t> out;
  for (const Json& row : mask) {
    for (const Json& m : row) out.push_back(m.get<uint8_t>());
  }
  return out;
}

Matrix in_rows(const std::vector<double>& flat, const Json& mask) {
  Matrix out;
  auto at = flat.begin();
  for (const Json& row : mask) {
    out.emplace_back(at, at + std::ssize(row));
    at += std::ssize(row);
  }
  return out;
}

Matrix whitened(const std::vector<double>& flat, const Json& in) {
  const std::map<std::string, WhitenKind> kinds = {{"trl", WhitenKind::kTrl},
                                                   {"verl", WhitenKind::kVerl},
                                                   {"openrlhf", WhitenKind::kOpenRlhf},
                                                   {"areal", WhitenKind::kAreal}};
  const Json& mask = in.at("mask");
  return in_rows(whiten(flat, flat_mask(mask), kinds.at(in.at("preset").get<std::string>()), true), mask);
}

void reinforce_pp(const Json& in, const Json& want, Tally& tally) {
  std::vector<double> flat;
  for (size_t r = 0; r < in.at("mask").size(); ++r) {
    const auto mask = in["mask"][r].get<std::vector<uint8_t>>();
    for (const double x : reward_to_go(numbers(in.at("token_rewards")[r]), mask, number(in.at("gamma"))))
      flat.push_back(x);
  }
  tally.near(in_rows(flat, in.at("mask")), want.at("returns"), {}, "returns");
  tally.near(whitened(flat, in), want.at("advantage"), {}, "advantage");
}

void reinforce_pp_baseline(const Json& in, const Json& want, Tally& tally) {
  const Advantages distances =
      group_advantages(rewards_of(in), integers(in.at("group")),
                       {.by = ScaleRewards::By::kNone, .single = ScaleRewards::Single::kRaw});
  std::vector<double> flat;
  for (size_t r = 0; r < in.at("mask").size(); ++r)
    flat.insert(flat.end(), in["mask"][r].size(), distances.values[r]);
  tally.near(whitened(flat, in), want.at("advantage"), {}, "advantage");
}

// "k3_verl" is k3 with verl's clamps; "<kind>_clamp10" bounds the value only.
KlEstimate estimator(const std::string& kind) {
  const size_t clamp = kind.find("_clamp10");
  if (kind == "k3_verl") return *KlEstimate::create(KlEstimator::kK3, {.input = 20, .output = 10});
  if (clamp == std::string::npos) return *KlEstimate::create(*parse_kl_estimator(kind));
  return *KlEstimate::create(*parse_kl_estimator(kind.substr(0, clamp)), {.output = 10});
}

at::Tensor tensor(const Json& list, Precision precision) {
  return at::tensor(numbers(list), at::kDouble).to(dtype_of(precision));
}

std::vector<double> gradient(const at::Tensor& y, const at::Tensor& x) {
  const at::Tensor g = torch::autograd::grad({y}, {x}, {}, true, false, true)[0];
  return doubles(g.defined() ? g : at::zeros_like(x));
}

void kl_estimators(const Json& in, const Json& want, Precision precision, Tally& tally) {
  for (const Json& kind : in.at("kinds")) {
    const auto name = kind.get<std::string>();
    const at::Tensor logp = tensor(in.at("logp"), precision).requires_grad_(true);
    const at::Tensor value = estimator(name)(logp - tensor(in.at("logp_ref"), precision));
    compare(tally, doubles(value), want.at(name).at("value"), precision, name + " value");
    compare(tally, gradient(value.sum(), logp), want[name].at("dvalue_dlogp"), precision, name + " gradient");
  }
}

// Over the whole vocabulary, on samples of the policy: no gradient through the sampling.
void kl_expected_gradient(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const at::Tensor z = tensor(in.at("logits_pi"), precision).requires_grad_(true);
  const at::Tensor reference = at::log_softmax(tensor(in.at("logits_ref"), precision), -1);
  const at::Tensor log_pi = at::log_softmax(z, -1);
  const at::Tensor pi = log_pi.detach().exp(), k = log_pi - reference;
  for (const auto& [name, key] : {std::pair{"reverse_kl", "kl_pi_ref"}, {"forward_kl", "kl_ref_pi"}}) {
    const at::Tensor exact = (*make_divergence(name))->exact(log_pi, reference);
    compare(tally, exact.item<double>(), want.at(key), precision, key);
    compare(tally, gradient(exact, z), want.at(std::string("grad_") + key), precision, key);
  }
  for (const std::string kind : {"k1", "k2", "k3"}) {
    const at::Tensor expectation = (pi * estimator(kind)(k)).sum();
    const Json& e = want.at("loss_" + kind);
    compare(tally, expectation.item<double>(), e.at("expectation"), precision, kind);
    compare(tally, gradient(expectation, z), e.at("expected_gradient"), precision, kind);
  }
  const at::Tensor on_policy = log_pi - log_pi.detach();
  const at::Tensor corrected = (pi * estimator("k3")(k) * importance_ratio(on_policy)).sum();
  compare(tally, gradient(corrected, z), want.at("loss_ratio_times_k3").at("expected_gradient"), precision,
          "ratio k3");
  // In the reward the penalty is minus an advantage of the surrogate.
  const at::Tensor penalty =
      (pi * clipped_surrogate(on_policy, -estimator("k1")(k).detach(), {}).loss_N).sum();
  compare(tally, gradient(penalty, z), want.at("k1_in_reward").at("expected_gradient_of_penalty"), precision,
          "k1 in the reward");
}

void prox_approx(const Json& in, const Json& want, Tally& tally) {
  std::vector<double> weights, logps;
  for (size_t i = 0; i < in.at("version").size(); ++i) {
    weights.push_back(
        proximal_weight(in["version"][i].get<int64_t>(), in.at("current_version").get<int64_t>()));
    logps.push_back(
        proximal_logp(number(in.at("behave_logp")[i]), number(in.at("theta_logp")[i]), weights.back()));
  }
  tally.near(weights, want.at("alpha"), {}, "alpha");
  tally.near(logps, want.at("prox_logp"), {}, "prox_logp");
}

void staleness(const Json& in, const Json& want, Tally& tally) {
  const auto at = [&](const char* key, size_t i) { return in.at(key)[i].get<int64_t>(); };
  std::vector<int64_t> capacity;
  for (size_t i = 0; i < in.at("version").size(); ++i) {
    capacity.push_back(rollout_capacity({at("version", i), at("accepted", i), at("running", i)},
                                        in.at("max_concurrent").get<int64_t>(), in.at("batch").get<int64_t>(),
                                        in.at("max_staleness").get<int64_t>()));
  }
  tally.equal(capacity, want.at("capacity"), "capacity");
}

// The released code that caps the length at the limit is the bounded rule.
void overlong(const Json& in, const Json& want, Tally& tally) {
  SoftOverlong rule{.max_length = in.at("max_len").get<int64_t>(),
                    .cache = in.at("cache_len").get<int64_t>(),
                    .factor = number(in.at("factor"))};
  const auto penalties = [&](bool bounded) {
    rule.bounded = bounded;
    std::vector<double> out;
    for (const int64_t n : integers(in.at("length"))) out.push_back(overlong_penalty(rule, n));
    return out;
  };
  tally.near(penalties(true), want.at("paper"), {}, "paper");
  tally.near(penalties(true), want.at("capped_code"), {}, "capped");
  tally.near(penalties(false), want.at("unbounded_code"), {}, "unbounded");
}

void dynamic_sampling_op(const Json& in, const Json& want, Tally& tally) {
  GroupFilter filter{.low = number_or(in, "low", 0), .high = number_or(in, "high", 1)};
  if (in.at("rule") == "mean_range") filter.rule = GroupFilter::Rule::kMeanRange;
  const SampledGroups got =
      dynamic_sampling(filter, numbers(in.at("metric")), integers(in.at("group")),
                       in.at("group_size").get<int64_t>(), in.at("target_prompts").get<int64_t>());
  tally.equal(got.groups, want.at("kept_groups"), "kept_groups");
  tally.equal(got.rows, want.at("kept_rows"), "kept_rows");
  tally.equal(got.enough, want.at("enough"), "enough");
}

}  // namespace

void add_policy_gradient_ops(Ops& ops) {
  ops.add("group_advantage", in_double(group_advantage));
  ops.add("rloo", in_double(rloo));
  ops.add("reinforce_pp", in_double(reinforce_pp));
  ops.add("reinforce_pp_baseline", in_double(reinforce_pp_baseline));
  ops.add("kl_estimators", in_both(kl_estimators));
  ops.add("kl_expected_gradient", in_both(kl_expected_gradient));
  ops.add("prox_approx", in_double(prox_approx));
  ops.add("staleness", in_double(staleness));
  ops.add("overlong", in_double(overlong));
  ops.add("dynamic_sampling", in_double(dynamic_sampling_op));
}

}  // namespace fulcrum::replay
