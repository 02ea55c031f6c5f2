// dph_rl.json through the product's code. The file's alpha is the paper's, 1 - ours.
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "engine/objective/aggregate.h"
#include "engine/objective/rehearsal_term.h"
#include "engine/pipeline/partition.h"
#include "reward/pass_at_k.h"
#include "tests/replay/masked_step.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum::replay {
namespace {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;

// A generator of the file as the config has it.
struct Generator {
  std::string form = "centred", name;
  DivergenceOptions options;
  double delta_max = generators::kInfinity;
};

Generator generator_of(const std::string& kind, const Json& params) {
  const double delta_max = number_or(params, "delta_max", generators::kInfinity);
  if (kind == "fkl_nll") return {"raw", "forward_kl", {}, delta_max};
  if (kind == "fkl_k3") return {"centred", "forward_kl", {}, delta_max};
  if (kind == "fkl_k3_clamped") return {"clamped", "forward_kl", {}, delta_max};
  if (kind == "rkl") return {"centred", "reverse_kl", {}, delta_max};
  if (kind == "js")
    return {"centred", "js_divergence", {.js_scale = number_or(params, "scale", 1)}, delta_max};
  if (kind == "js_def_ref_side") return {"mixture", "js_divergence", {}, delta_max};
  if (kind == "alpha")
    return {"centred", "alpha_divergence", {.alpha = 1 - number(params.at("alpha"))}, delta_max};
  throw std::invalid_argument("no generator is called " + kind);
}

using Term = std::function<at::Tensor(const at::Tensor& delta)>;

Term term_of(const std::string& kind, const Json& params) {
  if (kind == "js_def_policy_side") {
    // On samples of the policy it is an estimator of the KL, not a term of the rehearsal.
    const KlEstimate estimate = *KlEstimate::create(KlEstimator::kMixture, kReleasedClamp);
    const double edge = number_or(params, "delta_max", generators::kInfinity);
    return [=](const at::Tensor& delta) {
      return linear_beyond([&](const at::Tensor& d) { return estimate(d); }, delta, edge);
    };
  }
  const Generator g = generator_of(kind, params);
  return *RehearsalTerm::create(*parse_rehearsal_form(g.form), *make_divergence(g.name, g.options),
                                g.delta_max);
}

Term term_of(const Json& in) { return term_of(in.at("kind").get<std::string>(), in.at("params")); }

at::Tensor tensor(const Json& list, Precision precision) {
  return at::tensor(numbers(list), at::kDouble).to(dtype_of(precision));
}

std::vector<double> gradient(const at::Tensor& y, const at::Tensor& x) {
  return doubles(torch::autograd::grad({y}, {x}, {}, /*retain_graph=*/true)[0]);
}

void generator(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const at::Tensor logp = tensor(in.at("logp_pi"), precision).requires_grad_(true);
  const at::Tensor value = term_of(in)(logp - tensor(in.at("logp_ref"), precision));
  compare(tally, doubles(value), want.at("value"), precision, "value");
  compare(tally, gradient(value.sum(), logp), want.at("dvalue_dlogp_pi"), precision, "dvalue_dlogp_pi");
}

void exact_categorical(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const at::Tensor z = tensor(in.at("logits_pi"), precision).requires_grad_(true);
  const at::Tensor log_pi = at::log_softmax(z, -1);
  const at::Tensor log_ref = at::log_softmax(tensor(in.at("logits_ref"), precision), -1);
  const auto exact = [&](const std::string& name, const DivergenceOptions& options, const char* key) {
    compare(tally, (*make_divergence(name, options))->exact(log_pi, log_ref).item<double>(), want.at(key),
            precision, key);
  };
  exact("forward_kl", {}, "kl_ref_pi");
  exact("reverse_kl", {}, "kl_pi_ref");
  exact("js_divergence", {.js_scale = 0.5}, "jsd_half_half");
  for (const Json& g : in.at("generators")) {
    const auto label = g[0].get<std::string>();
    const at::Tensor value = (log_ref.exp() * term_of(g[1].get<std::string>(), g[2])(log_pi - log_ref)).sum();
    const Json& e = want.at("generators").at(label);
    compare(tally, value.item<double>(), e.at("expectation_under_ref"), precision, label);
    compare(tally, gradient(value, z), e.at("grad_logits_pi"), precision, label);
  }
}

void pef_loss(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision, /*rehearsal=*/true);
  const at::Tensor logp = step.leaf(in.at("logp_pi"));
  const at::Tensor value = term_of(in)(logp - step.targets(in.at("logp_ref")));
  const Aggregation how = *parse_aggregation_mode(in.at("agg").get<std::string>());
  const double denominator =
      step_denominator(how, step.batch(), true, static_cast<int64_t>(number_or(in, "const", 1)));
  const at::Tensor loss =
      number(in.at("eta")) * aggregate(how, step.input(), value, step.mask_N(), true, denominator);
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp_pi"), precision, "grad_logp_pi");
}

// The objective's own two parts: a run over the exploration rows and one over the stored samples, cut into
// micro-batches as the case says.
class Total {
 public:
  Total(const Json& in, Precision precision) : in_(in), dtype_(dtype_of(precision)) {}

  LossRun exploration() const {
    std::vector<FixtureRow> rows;
    for (size_t r = 0; r < in_.at("exp_mask").size(); ++r) {
      const std::vector<double> logps = numbers(in_.at("exp_logp")[r]);
      rows.push_back({.logps = logps,
                      .old_logps = numbers(in_.at("exp_old_logp")[r]),
                      .mask = in_["exp_mask"][r].get<std::vector<int>>(),
                      .advantages = std::vector<double>(logps.size(), number(in_.at("exp_adv")[r]))});
    }
    return run(std::move(rows), 0);
  }
  LossRun rehearsal(double eta) const {
    std::vector<FixtureRow> rows;
    for (size_t r = 0; r < in_.at("pef_mask").size(); ++r) {
      rows.push_back({.logps = numbers(in_.at("pef_logp")[r]),
                      .stored_logps = numbers(in_.at("pef_ref_logp")[r]),
                      .mask = in_["pef_mask"][r].get<std::vector<int>>(),
                      .rehearsal = true});
    }
    return run(std::move(rows), eta);
  }
  bool per_microbatch() const { return in_.at("combine") == "per_microbatch"; }
  double accumulation() const { return per_microbatch() ? number(in_.at("accum")) : 1; }

 private:
  LossRun run(std::vector<FixtureRow> rows, double eta) const {
    const Generator g = generator_of(in_.at("kind").get<std::string>(), in_.at("params"));
    ObjectiveConfig config;
    config.trainer = "dph_rl";
    config.epsilon = number(in_.at("eps_low"));
    config.epsilon_high = number(in_.at("eps_high"));
    config.num_iterations = 2;  // asks for the old log-probs
    config.f_divergence_type = g.name;
    config.f_alpha_divergence_coef = g.options.alpha;
    config.js_scale = g.options.js_scale;
    config.dph_form = g.form;
    config.dph_eta = eta;
    config.dph_delta_max = g.delta_max;
    config.dph_combine = in_.at("combine").get<std::string>();
    config.dph_accumulation = accumulation();
    const int64_t micro = per_microbatch() ? in_.at("micro").get<int64_t>() : 0;
    LossRun out = LossFixture(std::move(rows)).run(**make_objective(config), dtype_, micro);
    if (!out.status.ok()) throw std::invalid_argument(out.status.message());
    return out;
  }

  const Json& in_;
  at::ScalarType dtype_;
};

void dph_total(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const Total total(in, precision);
  const LossRun exploration = total.exploration();
  const LossRun rehearsal = total.rehearsal(number(in.at("eta"))), plain = total.rehearsal(1);
  compare(tally, exploration.loss + rehearsal.loss, want.at("loss"), precision, "loss");
  compare(tally, exploration.gradient, want.at("grad_exp_logp"), precision, "grad_exp_logp");
  compare(tally, rehearsal.gradient, want.at("grad_pef_logp"), precision, "grad_pef_logp");
  const bool micro = total.per_microbatch();
  const double times = total.accumulation();
  compare(tally, exploration.loss * times, want.at(micro ? "sum_exp_microbatch_means" : "loss_exp"),
          precision, "exploration part");
  compare(tally, plain.loss * times, want.at(micro ? "sum_pef_microbatch_means" : "loss_pef"), precision,
          "rehearsal part");
}

void partition(const Json& in, const Json& want, Tally& tally) {
  const PartitionRule rule{.k = in.at("k").get<int64_t>(),
                           .threshold = in.at("threshold").get<int64_t>(),
                           .drop_on_extra_fail = in.at("on_extra_fail") == "drop",
                           .drop_all_wrong = in.at("drop_all_wrong").get<bool>()};
  const bool has_extra = given(in, "extra_correct") != nullptr;
  std::vector<PromptLabel> labels;
  Json names = Json::array();
  for (size_t i = 0; i < in.at("correct").size(); ++i) {
    const bool confirmed = !has_extra || in["extra_correct"][i].get<int>() != 0;
    labels.push_back(label_prompt(rule, in["correct"][i].get<std::vector<uint8_t>>(), confirmed));
    names.push_back(label_name(labels.back()));
  }
  tally.equal(names, want.at("label"), "label");
  tally.near(pef_share(labels), want.at("frac_pef"), {}, "frac_pef");
}

// "undefined": the product gives no value.
void near_or_undefined(Tally& tally, const std::optional<double>& got, const Json& want,
                       const std::string& what) {
  if (want == "undefined" || !got) {
    if ((want == "undefined") != !got) tally.fail(what + ": defined on one side only");
    return;
  }
  tally.near(*got, want, {}, what);
}

std::vector<SolveCount> counts(const Json& n, const Json& c) {
  std::vector<SolveCount> out;
  for (size_t i = 0; i < c.size(); ++i) out.push_back({n[i].get<int64_t>(), c[i].get<int64_t>()});
  return out;
}

void passk(const Json& in, const Json& want, Tally& tally) {
  const std::vector<SolveCount> problems = counts(in.at("n"), in.at("c"));
  for (size_t j = 0; j < in.at("k").size(); ++j) {
    const auto k = in["k"][j].get<int64_t>();
    for (size_t i = 0; i < problems.size(); ++i)
      near_or_undefined(tally, pass_at_k(problems[i], k), want.at("per_problem")[i][j], "per_problem");
    const std::optional<Estimate> mean = mean_pass_at_k(problems, k, 0);
    near_or_undefined(tally, mean ? std::optional(mean->mean) : std::nullopt, want.at("mean")[j], "mean");
  }
  if (given(in, "base_c") == nullptr) return;
  const Retention kept = retention(counts(in.at("n"), in["base_c"]), problems);
  near_or_undefined(tally, kept.keep_rate, want.at("keep_rate"), "keep_rate");
  near_or_undefined(tally, kept.new_solve_rate, want.at("new_solve_rate"), "new_solve_rate");
}

}  // namespace

void add_dph_rl_ops(Ops& ops) {
  ops.add("generator", in_both(generator));
  ops.add("exact_categorical", in_both(exact_categorical));
  ops.add("pef_loss", in_both(pef_loss));
  ops.add("dph_total", in_both(dph_total));
  ops.add("partition", in_double(partition));
  ops.add("passk", in_double(passk));
}

}  // namespace fulcrum::replay
