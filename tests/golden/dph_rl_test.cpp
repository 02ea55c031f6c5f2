// tests/golden/dph_rl.json through the divergence table and the dph_rl objective.
#include "engine/divergence/divergence.h"
#include "tests/golden/golden.h"

namespace fulcrum::golden {
namespace {

struct Kind {
  std::string name;  // in our table; empty: not offered
  bool centred = true;
  DivergenceOptions options;
};

// The file's kinds; its alpha is the paper's, 1 - ours.
Kind kind_of(const std::string& kind, const Json& params) {
  if (kind == "fkl_nll") return {"forward_kl", false, {}};
  if (kind == "fkl_k3") return {"forward_kl", true, {}};
  if (kind == "rkl") return {"reverse_kl", true, {}};
  if (kind == "js") return {"js_divergence", true, {.js_scale = number(params, "scale", 1)}};
  if (kind == "alpha") return {"alpha_divergence", true, {.alpha = 1 - params["alpha"].get<double>()}};
  return {};
}
const char* kNotOffered = "kinds of the released code with its clamps";

TEST(GoldenDphRl, Generator) {
  const Json file = load("dph_rl");
  Op exact("dph_rl generator, float64"), single("dph_rl generator, float32");
  for (const Json& c : cases(file, "generator")) {
    const Json &in = c["inputs"], &e = c["expected"];
    const Kind kind = kind_of(in["kind"], in["params"]);
    if (kind.name.empty()) {
      exact.skip(kNotOffered);
      continue;
    }
    const auto d = *make_divergence(kind.name, kind.options);
    const at::Tensor delta =
        at::tensor(numbers(in["logp_pi"]), at::kDouble) - at::tensor(numbers(in["logp_ref"]), at::kDouble);
    const double edge = number(in["params"], "delta_max", generators::kInfinity);
    const auto evaluate = [&](at::ScalarType dtype) {
      const at::Tensor l = delta.to(dtype, false, /*copy=*/true).requires_grad_(true);
      const at::Tensor y = kind.centred ? d->centred_with_tail(l, edge) : d->value(l);
      y.sum().backward();
      return std::pair{to_vector(y), to_vector(l.grad())};
    };
    const auto [value, gradient] = evaluate(at::kDouble);
    exact.ran();
    exact.check(value, e["value"], Tolerance::float64(), c["id"]);
    exact.check(gradient, e["dvalue_dlogp_pi"], Tolerance::float64(), c["id"]);
    const auto [value32, gradient32] = evaluate(at::kFloat);
    single.ran();
    for (size_t i = 0; i < value32.size(); ++i) {
      const double v = number(e["value"][i]), g = number(e["dvalue_dlogp_pi"][i]);
      // The log-ratio in float32 carries the rounding of e^delta's argument.
      Tolerance tolerance = Tolerance::float32();
      tolerance.relative *= std::max(1.0, std::abs(delta[int64_t(i)].item<double>()) / 10);
      if (std::max(std::abs(v), std::abs(g)) > 1e30) continue;
      single.check(value32[i], v, tolerance, c["id"]);
      single.check(gradient32[i], g, tolerance, c["id"]);
    }
  }
}

TEST(GoldenDphRl, ExactCategorical) {
  const Json file = load("dph_rl");
  Op op("dph_rl exact_categorical, float64");
  for (const Json& c : cases(file, "exact_categorical")) {
    const Json &in = c["inputs"], &e = c["expected"];
    const at::Tensor reference = at::log_softmax(at::tensor(numbers(in["logits_ref"]), at::kDouble), -1);
    const auto run = [&](const Divergence& d) {
      const at::Tensor z = at::tensor(numbers(in["logits_pi"]), at::kDouble).requires_grad_(true);
      const at::Tensor value = d.exact(at::log_softmax(z, -1), reference);
      value.backward();
      return std::pair{value.item<double>(), to_vector(z.grad())};
    };
    op.ran();
    const std::string id = c["id"];
    op.check(run(**make_divergence("forward_kl")).first, number(e["kl_ref_pi"]), Tolerance::float64(),
             id + " kl_ref_pi");
    op.check(run(**make_divergence("reverse_kl")).first, number(e["kl_pi_ref"]), Tolerance::float64(),
             id + " kl_pi_ref");
    op.check(run(**make_divergence("js_divergence", {.js_scale = 0.5})).first, number(e["jsd_half_half"]),
             Tolerance::float64(), id + " jsd");
    for (const Json& g : in["generators"]) {
      const Kind kind = kind_of(g[1], g[2]);
      if (kind.name.empty()) continue;
      const auto [value, gradient] = run(**make_divergence(kind.name, kind.options));
      const Json& want = e["generators"][g[0].get<std::string>()];
      op.check(value, number(want["expectation_under_ref"]), Tolerance::float64(), id);
      op.check(gradient, want["grad_logits_pi"], Tolerance::float64(), id);
    }
  }
}

ObjectiveConfig config_of(const Json& in, const Kind& kind, const std::string& loss_type) {
  ObjectiveConfig config;
  config.trainer = "dph_rl";
  config.loss_type = loss_type;
  config.f_divergence_type = kind.name;
  config.f_alpha_divergence_coef = kind.options.alpha;
  config.js_scale = kind.options.js_scale;
  config.dph_eta = in["eta"].get<double>();
  config.dph_delta_max = 1e6;
  config.num_iterations = 2;  // asks for the old log-probs
  return config;
}

TEST(GoldenDphRl, PefLoss) {
  const Json file = load("dph_rl");
  Op exact("dph_rl pef_loss, float64"), single("dph_rl pef_loss, float32");
  for (const Json& c : cases(file, "pef_loss")) {
    const Json &in = c["inputs"], &e = c["expected"];
    const Kind kind = kind_of(in["kind"], in["params"]);
    bool has_empty_row = false;
    std::vector<FixtureRow> rows;
    for (size_t r = 0; r < in["mask"].size(); ++r) {
      rows.push_back({.logps = numbers(in["logp_pi"][r]),
                      .stored_logps = numbers(in["logp_ref"][r]),
                      .mask = integers(in["mask"][r]),
                      .rehearsal = true});
      has_empty_row |= std::count(rows[r].mask.begin(), rows[r].mask.end(), 1) == 0;
    }
    const bool all_empty = number(e["loss"]) == 0;
    const bool token_mean = in["agg"] == "token_mean";
    if (kind.name.empty()) {
      exact.skip(kNotOffered);
    } else if (!token_mean && (in["agg"] != "seq_mean_token_mean" || (has_empty_row && !all_empty))) {
      exact.skip("aggregations that leave empty rows out, or sum tokens");
    } else {
      const auto objective = *make_objective(config_of(in, kind, token_mean ? "dapo" : "grpo"));
      const auto check = [&](Op& op, const LossRun& run, Tolerance tolerance) {
        ASSERT_TRUE(run.status.ok()) << run.status.message();
        op.ran();
        op.check(run.loss, number(e["loss"]), tolerance, c["id"]);
        op.check(run.gradient, e["grad_logp_pi"], tolerance, c["id"]);
      };
      const LossFixture fixture(rows);
      check(exact, fixture.run(*objective), Tolerance::float64());
      check(exact, fixture.run(*objective, at::kDouble, 1), Tolerance::float64());
      check(single, fixture.run(*objective, at::kFloat), Tolerance::float32());
    }
  }
}

TEST(GoldenDphRl, Total) {
  const Json file = load("dph_rl");
  Op exact("dph_rl dph_total, float64"), single("dph_rl dph_total, float32");
  for (const Json& c : cases(file, "dph_total")) {
    const Json &in = c["inputs"], &e = c["expected"];
    if (in["combine"] != "sum_of_means") {
      exact.skip("per_microbatch, which depends on the layout");
      continue;
    }
    ObjectiveConfig config = config_of(in, kind_of(in["kind"], in["params"]), "dapo");
    config.epsilon = in["eps_low"].get<double>();
    config.epsilon_high = in["eps_high"].get<double>();
    std::vector<FixtureRow> rows;
    for (size_t r = 0; r < in["exp_mask"].size(); ++r) {
      const std::vector<double> logps = numbers(in["exp_logp"][r]);
      rows.push_back({.logps = logps,
                      .old_logps = numbers(in["exp_old_logp"][r]),
                      .mask = integers(in["exp_mask"][r]),
                      .advantages = std::vector<double>(logps.size(), number(in["exp_adv"][r]))});
    }
    const size_t exploration = rows.size();
    for (size_t r = 0; r < in["pef_mask"].size(); ++r) {
      rows.push_back({.logps = numbers(in["pef_logp"][r]),
                      .stored_logps = numbers(in["pef_ref_logp"][r]),
                      .mask = integers(in["pef_mask"][r]),
                      .rehearsal = true});
    }
    const auto objective = *make_objective(config);
    const auto check = [&](Op& op, const LossRun& run, Tolerance tolerance) {
      ASSERT_TRUE(run.status.ok()) << run.status.message();
      op.ran();
      op.check(run.loss, number(e["loss"]), tolerance, c["id"]);
      op.check(run.gradient, e["grad_exp_logp"], tolerance, c["id"]);
      op.check(run.gradient, e["grad_pef_logp"], tolerance, c["id"], exploration);
    };
    const LossFixture fixture(rows);
    check(exact, fixture.run(*objective), Tolerance::float64());
    check(exact, fixture.run(*objective, at::kDouble, 3), Tolerance::float64());
    check(single, fixture.run(*objective, at::kFloat), Tolerance::float32());
  }
}

}  // namespace
}  // namespace fulcrum::golden
