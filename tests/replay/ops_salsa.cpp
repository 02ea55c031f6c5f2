// salsa.json and bema.json through the product's code: soups, their recipes, the moving references, the
// comparison of models and the win rate. Vectors of a case become models of one tensor, stored in the
// precision of the run; where the product works in double only, or in a type of its own, the float32 run is
// skipped.
#include <ATen/ATen.h>

#include <cmath>

#include "engine/divergence/divergence.h"
#include "engine/divergence/kl_estimators.h"
#include "engine/objective/kl_penalty.h"
#include "engine/reference/bema.h"
#include "engine/reference/compare_models.h"
#include "engine/reference/greedy.h"
#include "engine/reference/learned_weights.h"
#include "engine/reference/parameters.h"
#include "engine/reference/soup.h"
#include "policy/nn/policy.h"
#include "reward/win_rate.h"
#include "tests/replay/replay.h"

namespace fulcrum::replay {
namespace {

constexpr Tolerance kExact{.relative = 0, .absolute = 1e-300};

Tolerance tolerance(Precision p) { return p == Precision::kFloat64 ? Tolerance{} : Tolerance{3e-5, 3e-6}; }
DType storage(Precision p) { return p == Precision::kFloat64 ? DType::kF64 : DType::kF32; }
at::ScalarType scalar(Precision p) { return p == Precision::kFloat64 ? at::kDouble : at::kFloat; }

// The value, or the failure of the case.
template <class T>
T must(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().message());
  return std::move(result).value();
}

TensorView stored(const std::vector<double>& values, DType dtype) {
  return must(make_tensor({static_cast<int64_t>(values.size())}, values, dtype));
}

Ingredient model_of(const std::vector<double>& values, DType dtype) {
  Ingredient out{.name = "a model of the case"};
  out.model.tensors.emplace("w", stored(values, dtype));
  return out;
}

std::vector<Ingredient> models_of(const Json& rows, DType dtype) {
  std::vector<Ingredient> out;
  for (const std::vector<double>& row : matrix(rows)) out.push_back(model_of(row, dtype));
  return out;
}

std::vector<double> values_of(const Model& model, const std::string& name = "w") {
  return must(to_double(model.tensors.at(name)));
}

// Weights as they are given: no case means a mistake.
SoupPlan plan_of(std::vector<double> weights, DType dtype, bool normalize = false) {
  return {.weights = std::move(weights), .normalize = normalize, .extrapolate = true, .dtype = dtype};
}

void soup(const Json& item, Precision precision, Tally& tally) {
  const Json &in = item["inputs"], &want = item["expected"];
  const SoupPlan plan = plan_of(numbers(in["weights"]), storage(precision), flag_or(in, "normalize", false));
  std::vector<Ingredient> models;
  for (const Json& checkpoint : in["checkpoints"]) {
    Ingredient& model = models.emplace_back();
    for (const auto& [name, values] : checkpoint.items())
      model.model.tensors.emplace(name, stored(numbers(values), storage(precision)));
  }
  const Model made = must(make_soup(models, plan));
  tally.ran();
  tally.near(must(soup_weights(plan, plan.weights, models.size())), want["weights_used"],
             tolerance(precision), "weights_used");
  for (const auto& [name, values] : want["soup"].items())
    tally.near(values_of(made, name), values, tolerance(precision), name);
}

std::vector<double> to_bf16(const std::vector<double>& values) {
  return must(to_double(stored(values, DType::kBF16)));
}

void soup_bf16(const Json& item, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  const Json &in = item["inputs"], &want = item["expected"];
  const std::vector<double> weights = numbers(in["weights"]);
  const std::vector<Ingredient> models = {model_of(numbers(in["a"]), DType::kBF16),
                                          model_of(numbers(in["b"]), DType::kBF16)};
  const std::vector<double> a = values_of(models[0].model), b = values_of(models[1].model);
  tally.ran();
  tally.near(a, want["a_bf16"], kExact, "a_bf16");
  tally.near(b, want["b_bf16"], kExact, "b_bf16");
  tally.near(values_of(must(make_soup(models, plan_of(weights, DType::kBF16)))), want["round_once"], kExact,
             "round_once");
  // What a soup must not do, by the product's rounding.
  const std::vector<double> w = to_bf16(weights);
  std::vector<double> products_a, products_b, sum;
  for (const double x : a) products_a.push_back(w[0] * x);
  for (const double x : b) products_b.push_back(w[1] * x);
  products_a = to_bf16(products_a);
  products_b = to_bf16(products_b);
  for (size_t i = 0; i < a.size(); ++i) sum.push_back(products_a[i] + products_b[i]);
  tally.near(to_bf16(sum), want["round_every_step"], kExact, "round_every_step");
}

void greedy(const Json& item, Precision precision, Tally& tally) {
  const Json &in = item["inputs"], &want = item["expected"];
  const std::vector<Ingredient> models = models_of(in["models"], storage(precision));
  const std::vector<double> target = numbers(in["target"]);
  const auto cook = [&](std::span<const double> weights) {
    return must(make_soup(models, plan_of({weights.begin(), weights.end()}, storage(precision))));
  };
  const auto score = [&](std::span<const double> weights) -> Result<Scores> {
    const std::vector<double> theta = values_of(cook(weights));
    double distance = 0;
    for (size_t i = 0; i < theta.size(); ++i) distance += (theta[i] - target[i]) * (theta[i] - target[i]);
    return Scores{-distance};
  };
  const GreedyPath path =
      must(greedy_soup(models.size(), {.margin = 0, .accept_equal = in["accept_equal"].get<bool>()}, score));
  tally.ran();
  tally.equal(path.order, want["order"], "order");
  tally.equal(path.ingredients, want["ingredients"], "ingredients");
  tally.near(values_of(cook(uniform_over(path.ingredients, models.size()))), want["soup"],
             tolerance(precision), "soup");
  tally.near(path.best_after_each.back(), want["best_score"], tolerance(precision), "best_score");
  tally.near(path.best_after_each, want["best_after_each"], tolerance(precision), "best_after_each");
}

void learned(const Json& item, Precision precision, Tally& tally) {
  const Json &in = item["inputs"], &want = item["expected"];
  const std::vector<Ingredient> models = models_of(in["models"], storage(precision));
  const std::vector<double> target = numbers(in["target"]);
  const std::vector<double> alpha = softmax_weights(numbers(in["raw"]));
  const std::vector<double> theta = values_of(must(make_soup(models, plan_of(alpha, storage(precision)))));
  double loss = 0;  // the case's own: 0.5 |theta - target|^2
  std::vector<double> products(models.size());
  for (size_t j = 0; j < theta.size(); ++j) loss += (theta[j] - target[j]) * (theta[j] - target[j]) / 2;
  for (size_t i = 0; i < models.size(); ++i) {
    const std::vector<double> row = values_of(models[i].model);
    for (size_t j = 0; j < theta.size(); ++j) products[i] += (theta[j] - target[j]) * row[j];
  }
  tally.ran();
  tally.near(alpha, want["alpha"], tolerance(precision), "alpha");
  tally.near(theta, want["soup"], tolerance(precision), "soup");
  tally.near(loss, want["loss"], tolerance(precision), "loss");
  tally.near(raw_weight_gradient(alpha, products), want["grad_raw"], tolerance(precision), "grad_raw");
}

double length(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return std::sqrt(squares);
}

void slerp_of_tasks(const Json& item, Precision precision, Tally& tally) {
  const Json &in = item["inputs"], &want = item["expected"];
  const Ingredient base = model_of(numbers(in["init"]), storage(precision));
  const std::vector<Ingredient> models = models_of(in["models"], storage(precision));
  SoupPlan plan{.recipe = SoupRecipe::kSlerp,
                .position = number_or(in, "lam", 0.5),
                .lerp_threshold = number(in["lerp_threshold"]),
                .base = &base,
                .dtype = storage(precision)};
  std::vector<std::vector<double>> deltas;
  for (const Ingredient& model : models) {
    std::vector<double>& delta = deltas.emplace_back(values_of(model.model));
    for (size_t i = 0; i < delta.size(); ++i) delta[i] -= values_of(base.model)[i];
  }
  const MergedTasks merged = merge_tasks(deltas, plan.position, plan.lerp_threshold);
  tally.ran();
  if (merged.angle.size() != want["omega"].size()) return tally.fail("omega: another number of merges");
  for (size_t i = 0; i < merged.angle.size(); ++i) {
    if (want["omega"][i] == "lerp" || !merged.angle[i]) {
      tally.equal(merged.angle[i] ? Json(*merged.angle[i]) : Json("lerp"), want["omega"][i], "omega");
    } else {
      tally.near(*merged.angle[i], want["omega"][i], tolerance(precision), "omega");
    }
  }
  tally.near(length(merged.delta), want["delta_norm"], tolerance(precision), "delta_norm");
  tally.near(values_of(must(make_soup(models, plan))), want["slerp"], tolerance(precision), "slerp");
  plan.interpolation = number(in["liti_eta"]);
  tally.near(values_of(must(make_soup(models, plan))), want["liti"], tolerance(precision), "liti");
}

// A policy of one tensor: what a reference follows.
class OneTensor final : public Policy {
 public:
  OneTensor(const std::vector<double>& values, Precision precision)
      : parameters_{{"w", at::tensor(values, at::kDouble).to(scalar(precision))}} {}
  const ModelSpec& spec() const override { return spec_; }
  at::Tensor hidden(const TrainBatch& /*batch*/) override { return {}; }
  at::Tensor output_weight() const override { return parameters_[0].second; }
  at::Tensor output_leaf() const override { return output_weight(); }
  at::Tensor score_weight() const override { return {}; }
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const override { return parameters_; }
  void parameters_changed() override {}

 private:
  ModelSpec spec_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
};

std::vector<double> list_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous().view(-1);
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

void ema(const Json& item, Precision precision, Tally& tally) {
  const Json& in = item["inputs"];
  const MoveRule rule{number(in["mu"]), in["every"].get<int64_t>()};
  OneTensor reference(numbers(in["ref0"]), precision);
  std::vector<std::vector<double>> after;
  for (const std::vector<double>& row : matrix(in["policy"])) {
    const auto step = static_cast<int64_t>(after.size()) + 1;
    must(follow(reference, OneTensor(row, precision), rule, step));
    after.push_back(list_of(reference.output_weight()));
  }
  tally.ran();
  tally.near(after, item["expected"]["ref"], tolerance(precision), "ref");
}

void bema(const Json& item, Precision precision, Tally& tally) {
  const Json& in = item["inputs"];
  const BemaConfig config{.update_ref_model = true,
                          .update_freq = in["update_freq"].get<int64_t>(),
                          .ema_power = number(in["ema_power"]),
                          .bias_power = number(in["bias_power"]),
                          .lag = number(in["lag"]),
                          .multiplier = number(in["multiplier"])};
  OneTensor reference(numbers(in["start"]), precision);
  Bema rule(config, OneTensor(numbers(in["start"]), precision));
  std::vector<std::vector<double>> references, averages;
  for (const std::vector<double>& row : matrix(in["policy"])) {
    const auto step = static_cast<int64_t>(references.size()) + 1;
    must(rule.after_step(step, OneTensor(row, precision), reference));
    references.push_back(list_of(reference.output_weight()));
    averages.push_back(must(to_double(rule.save().begin()->second)));
  }
  tally.ran();
  tally.near(references, item["expected"]["reference"], tolerance(precision), "reference");
  if (precision == Precision::kFloat32)  // in which it is saved
    tally.near(averages, item["expected"]["average"], tolerance(precision), "average");
}

// The toy of `soup_reference`: the logits of position t are W f_t.
struct Toy {
  at::Tensor features_TD;
  at::Tensor tokens_T;
  Precision precision;

  at::Tensor matrix_of(const std::vector<double>& flat) const {
    return at::tensor(flat, at::kDouble).view({-1, features_TD.size(1)}).to(scalar(precision));
  }
  at::Tensor logps_TV(const at::Tensor& weight_VD) const {
    return at::log_softmax(at::mm(features_TD, weight_VD.t()), 1);
  }
  at::Tensor chosen_T(const at::Tensor& logps_TV) const {
    return logps_TV.gather(1, tokens_T.unsqueeze(1)).squeeze(1);
  }
};

std::vector<double> flat(const Json& rows) {
  std::vector<double> out;
  for (const std::vector<double>& row : matrix(rows)) out.insert(out.end(), row.begin(), row.end());
  return out;
}

// -beta k1 of each token, and the score on the last.
std::vector<double> token_rewards(const at::Tensor& policy_T, const at::Tensor& reference_T, double beta,
                                  double score) {
  const KlEstimate k1 = must(KlEstimate::create(KlEstimator::kK1));
  const std::vector<double> kl = list_of(k1(policy_T - reference_T));
  const std::vector<uint8_t> all(kl.size(), 1);
  return kl_reward(kl, all, {.score = score}, {.beta = beta}).rewards;
}

void soup_reference(const Json& item, Precision precision, Tally& tally) {
  const Json &in = item["inputs"], &want = item["expected"];
  const Tolerance near = tolerance(precision);
  const double alpha = number(in["alpha"]), beta = number(in["beta"]), score = number(in["score"]);
  const auto width = static_cast<int64_t>(in["W_policy"][0].size());
  const auto tokens = in["tokens"].get<std::vector<int64_t>>();
  const Toy toy{.features_TD = at::tensor(flat(in["features"]), at::kDouble)
                                   .view({static_cast<int64_t>(tokens.size()), width})
                                   .to(scalar(precision)),
                .tokens_T = at::tensor(tokens, at::kLong),
                .precision = precision};
  const std::vector<Ingredient> sft = {model_of(flat(in["W_sft1"]), storage(precision)),
                                       model_of(flat(in["W_sft2"]), storage(precision))};
  const Model mixed = must(make_soup(sft, plan_of({alpha, 1 - alpha}, storage(precision))));
  const at::Tensor soup_VD = toy.matrix_of(values_of(mixed));
  const at::Tensor policy_VD = toy.matrix_of(flat(in["W_policy"]));
  const at::Tensor policy = toy.logps_TV(policy_VD), soup = toy.logps_TV(soup_VD),
                   first = toy.logps_TV(toy.matrix_of(values_of(sft[0].model))),
                   second = toy.logps_TV(toy.matrix_of(values_of(sft[1].model)));
  // What a soup is not: the mixture of the probabilities.
  const at::Tensor mixture = at::logaddexp(first + std::log(alpha), second + std::log(1 - alpha));
  tally.ran();
  tally.near(list_of(toy.chosen_T(policy)), want["logp_policy"], near, "logp_policy");
  tally.near(list_of(toy.chosen_T(soup)), want["ref_logp_soup"], near, "ref_logp_soup");
  tally.near(list_of(toy.chosen_T(first)), want["ref_logp_sft1"], near, "ref_logp_sft1");
  tally.near(list_of(toy.chosen_T(mixture)), want["logp_mixture_of_probs"], near, "logp_mixture_of_probs");
  if (precision == Precision::kFloat32 && !tokens.empty()) {  // as a reference computes them
    tally.near(list_of(token_logps(toy.features_TD, soup_VD, toy.tokens_T, 1.0, 2)), want["ref_logp_soup"],
               near, "ref_logp_soup by token_logps");
  }
  const auto kl = must(make_divergence("reverse_kl"));
  tally.near(list_of(kl->exact(policy, soup)), want["full_kl_policy_soup"], near, "full_kl_policy_soup");
  tally.near(list_of(kl->exact(policy, first)), want["full_kl_policy_sft1"], near, "full_kl_policy_sft1");
  tally.near(list_of(kl->exact(policy, mixture)), want["full_kl_policy_mixture"], near,
             "full_kl_policy_mixture");
  tally.near(token_rewards(toy.chosen_T(policy), toy.chosen_T(soup), beta, score), want["token_rewards_soup"],
             near, "token_rewards_soup");
  tally.near(token_rewards(toy.chosen_T(policy), toy.chosen_T(first), beta, score),
             want["token_rewards_sft1"], near, "token_rewards_sft1");
}

DType dtype_of(const std::string& name) {
  static const std::map<std::string, DType> kNames = {{"float16", DType::kF16}, {"bfloat16", DType::kBF16},
                                                      {"float32", DType::kF32}, {"float64", DType::kF64},
                                                      {"int64", DType::kI64},   {"int32", DType::kI32},
                                                      {"int16", DType::kI16},   {"int8", DType::kI8},
                                                      {"uint8", DType::kU8},    {"bool", DType::kBool}};
  return kNames.at(name);
}

Ingredient described(const Json& in) {
  Ingredient out{.name = "a model of the case"};
  out.model.spec.model_type = in["architecture"];
  out.model.spec.tie_word_embeddings = flag_or(in, "tied", false);
  out.tokenizer_hash = in["tokenizer_hash"];
  out.base_hash = text_or(in, "base_hash", "");
  for (const auto& [name, t] : in["tensors"].items()) {
    out.model.tensors[name] = {.dtype = dtype_of(t["dtype"]),
                               .shape = t["shape"].get<std::vector<int64_t>>()};
  }
  return out;
}

void compat(const Json& item, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  static const std::map<Mismatch, std::string> kIds = {{Mismatch::kNone, "ok"},
                                                       {Mismatch::kArchitecture, "architecture_mismatch"},
                                                       {Mismatch::kTokenizer, "tokenizer_mismatch"},
                                                       {Mismatch::kKeys, "key_mismatch"},
                                                       {Mismatch::kShape, "shape_mismatch"},
                                                       {Mismatch::kDtypeClass, "dtype_class_mismatch"},
                                                       {Mismatch::kTying, "tying_mismatch"},
                                                       {Mismatch::kBase, "warn_different_base"}};
  const Json& want = item["expected"];
  const Comparison got = compare_models(described(item["inputs"]["a"]), described(item["inputs"]["b"]));
  tally.ran();
  tally.equal(kIds.at(got.kind), want["result"], "result");
  if (given(want, "detail") != nullptr) tally.equal(got.names, want["detail"], "detail");
}

void winrate(const Json& item, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  const Json &in = item["inputs"], &want = item["expected"];
  const auto got = win_rate({.wins = in["wins"].get<int64_t>(),
                             .ties = in["ties"].get<int64_t>(),
                             .losses = in["losses"].get<int64_t>()});
  tally.ran();
  if (want["win_rate"] == "undefined")
    return tally.refused(got ? ok_status() : invalid_argument("nothing was compared"), "win_rate");
  if (!got) return tally.fail("win_rate: no number where there is one");
  tally.near(got->rate, want["win_rate"], {}, "win_rate");
  tally.near(got->adjusted, want["adjusted_win_rate"], {}, "adjusted_win_rate");
  tally.near(got->std_error, want["std_error"], {}, "std_error");
}

}  // namespace

void add_salsa_ops(Ops& ops) {
  ops.add("soup", soup);
  ops.add("soup_bf16", soup_bf16);
  ops.add("greedy", greedy);
  ops.add("learned", learned);
  ops.add("slerp", slerp_of_tasks);
  ops.add("ema", ema);
  ops.add("bema", bema);
  ops.add("soup_reference", soup_reference);
  ops.add("compat", compat);
  ops.add("winrate", winrate);
}

}  // namespace fulcrum::replay
