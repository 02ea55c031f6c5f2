// f_dpo.json through the product's code: the divergence table, DPO's link and the dpo objective.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "engine/divergence/divergence.h"
#include "engine/objective/calibration.h"
#include "engine/objective/dpo_link.h"
#include "tests/replay/replay.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum::replay {
namespace {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;

constexpr double kLargestFloat = 3.4e38, kSmallestFloat = 1e-38;

at::ScalarType dtype_of(Precision precision) {
  return precision == Precision::kFloat64 ? at::kDouble : at::kFloat;
}

// The paper's alpha is 1 - ours; the ends are the two KLs.
double our_alpha(const Json& c) { return 1 - number_or(c, "alpha", 0.5); }

std::string divergence_name(const Json& c) {
  const auto name = c.at("divergence").get<std::string>();
  if (name == "js") return "js_divergence";
  return name == "alpha" ? "alpha_divergence" : name;
}

std::shared_ptr<const Divergence> divergence_of(const Json& c) {
  return make_divergence(divergence_name(c), {.alpha = our_alpha(c)}).value();
}

std::unique_ptr<Objective> objective_of(const Json& c, std::optional<double> cap,
                                        const std::string& guard = "linear") {
  ObjectiveConfig config;
  config.trainer = "dpo";
  config.f_divergence_type = divergence_name(c);
  config.f_alpha_divergence_coef = our_alpha(c);
  config.beta = number(c.at("beta"));
  config.f_exponent_cap = cap;
  config.f_exponent_guard = guard;
  return make_objective(config).value();
}

Tolerance tolerance(Precision precision, const Json& c, double log_ratio) {
  if (precision == Precision::kFloat64) return {};
  const double k = number_or(c, "alpha", 1);
  return {2e-5 * std::max(1.0, std::abs(log_ratio * k) / 10), 2e-6};
}

// What float32 rounds to 0 compares as 0; both sides alike.
void near(Tally& tally, double got, double want, Tolerance t, const std::string& what) {
  const auto rounded = [](double x) { return std::abs(x) < kSmallestFloat ? 0.0 : x; };
  const double e = rounded(want);
  tally.near(rounded(got),
             std::isfinite(e) ? Json(e)
                              : Json(e > 0   ? "inf"
                                     : e < 0 ? "-inf"
                                             : "nan"),
             t, what);
}

void score(const Json& c, Precision precision, Tally& tally) {
  const double a = number(c.at("log_ratio")), want = number(c.at("score")), slope = number(c.at("dscore"));
  if (precision == Precision::kFloat32 && std::max(std::abs(want), std::abs(slope)) > kLargestFloat)
    return tally.skipped();
  tally.ran();
  const auto divergence = divergence_of(c);
  const DpoLink link = DpoLink::create(divergence, std::nullopt).value();
  const at::Tensor l = at::tensor({a}, at::kDouble).to(dtype_of(precision)).requires_grad_(true);
  const at::Tensor s = link.score(l);
  s.sum().backward();
  const Tolerance t = tolerance(precision, c, a);
  near(tally, s.item<double>(), want, t, "score");
  near(tally, l.grad().item<double>(), slope, t, "dscore");
  // The raw slope carries f'(1).
  if (precision == Precision::kFloat64) {
    near(tally, divergence->at_log_ratio(Quantity::kSlope, a) - divergence->facts().slope_at_one, want, t,
         "raw slope");
  }
}

// A table in double: inverse_slope() is one.
void inverse(const Json& c, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  tally.ran();
  const double l = divergence_of(c)->at_log_ratio(Quantity::kInverseSlope, number(c.at("y")));
  tally.equal(std::isfinite(l), c.at("in_range"), "in_range");
  if (std::isfinite(l) && given(c, "u") != nullptr) tally.near(std::exp(l), c.at("u"), {}, "u");
}

std::vector<FixtureRow> pair_rows(const Json& c) {
  return {
      {.logps = {number(c.at("policy_chosen_logp"))}, .reference_logps = {number(c.at("ref_chosen_logp"))}},
      {.logps = {number(c.at("policy_rejected_logp"))},
       .reference_logps = {number(c.at("ref_rejected_logp"))}}};
}

bool exact_in_float(const std::vector<FixtureRow>& rows) {
  return std::all_of(rows.begin(), rows.end(), [](const FixtureRow& row) {
    return double(float(row.logps[0])) == row.logps[0] &&
           double(float(row.reference_logps[0])) == row.reference_logps[0];
  });
}

double metric(const LossRun& run, const std::string& name) { return run.metrics.at(name).mean(); }

void check_pair(const Json& c, const LossRun& run, Precision precision, Tally& tally) {
  if (!run.status.ok()) return tally.fail(run.status.message());
  const Json& e = c.at("expected");
  const double far =
      std::max(std::abs(number(e.at("log_ratio_chosen"))), std::abs(number(e.at("log_ratio_rejected"))));
  const Tolerance t = tolerance(precision, c, far);
  const auto check = [&](double got, const char* field) {
    near(tally, got, number(e.at(field)), t, std::string(field));
  };
  const double beta = number(c.at("beta"));
  check(run.loss, "loss");
  check(run.gradient[0][0], "grad_policy_chosen_logp");
  check(run.gradient[1][0], "grad_policy_rejected_logp");
  check(metric(run, "rewards/chosen"), "chosen_reward");
  check(metric(run, "rewards/rejected"), "rejected_reward");
  check(metric(run, "rewards/margins"), "margin");
  check(metric(run, "rewards/chosen") / beta, "score_chosen");
  check(metric(run, "rewards/rejected") / beta, "score_rejected");
  if (e.contains("reward_accuracy")) {
    tally.near(metric(run, "rewards/accuracies"), e.at("reward_accuracy"), {}, "reward_accuracy");
  }
}

// Inputs that are not exact in float32 go in as doubles: the objective forms a pair's numbers in double.
void pair_case(const Json& c, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32 && !c.at("expected").at("fp32_finite").get<bool>())
    return tally.skipped();
  tally.ran();
  const std::vector<FixtureRow> rows = pair_rows(c);
  const at::ScalarType dtype = exact_in_float(rows) ? dtype_of(precision) : at::kDouble;
  check_pair(c, LossFixture(rows).run(*objective_of(c, std::nullopt), dtype), precision, tally);
}

void exponent_guard(const Json& c, Precision precision, Tally& tally) {
  const Json& e = c.at("expected");
  const double largest =
      std::max({std::abs(number(e.at("loss"))), std::abs(number(e.at("grad_policy_chosen_logp"))),
                std::abs(number(e.at("score_chosen"))), std::abs(number(e.at("score_rejected")))});
  if (precision == Precision::kFloat32 && largest > kLargestFloat) return tally.skipped();
  tally.ran();
  const LossRun run =
      LossFixture(pair_rows(c)).run(*objective_of(c, number(c.at("cap")), c.at("mode")), dtype_of(precision));
  check_pair(c, run, precision, tally);
}

std::vector<FixtureRow> token_rows(const Json& in) {
  std::vector<FixtureRow> rows;
  for (size_t i = 0; i < in.at("policy_chosen").size(); ++i) {
    for (const std::string side : {"chosen", "rejected"}) {
      rows.push_back({.logps = numbers(in.at("policy_" + side)[i]),
                      .reference_logps = numbers(in.at("ref_" + side)[i]),
                      .mask = in.at("mask_" + side)[i].get<std::vector<int>>()});
    }
  }
  return rows;
}

void token_batches(const Json& block, Precision precision, Tally& tally) {
  const std::vector<FixtureRow> rows = token_rows(block.at("inputs"));
  for (const Json& c : block.at("cases")) {
    tally.ran();
    const Json& e = c.at("expected");
    const auto objective = objective_of(c, std::nullopt);
    for (const int64_t micro : {0, 2}) {
      const LossRun run = LossFixture(rows).run(*objective, dtype_of(precision), micro);
      if (!run.status.ok()) return tally.fail(run.status.message());
      double far = 1;
      for (const double a : numbers(e.at("log_ratio_chosen"))) far = std::max(far, std::abs(a));
      for (const double a : numbers(e.at("log_ratio_rejected"))) far = std::max(far, std::abs(a));
      const Tolerance t = tolerance(precision, c, far);
      tally.near(run.loss, e.at("mean_loss"), t, "mean_loss");
      for (size_t r = 0; r < rows.size(); ++r) {
        const std::string field =
            std::string("grad_mean_loss_wrt_policy_") + (r % 2 == 0 ? "chosen" : "rejected") + "_token_logp";
        tally.near(run.gradient[r], e.at(field)[r / 2], t, field);
      }
    }
    for (size_t i = 0; i < rows.size() / 2; ++i) {  // each pair by itself: its own loss
      const LossRun run = LossFixture({rows[2 * i], rows[2 * i + 1]}).run(*objective, dtype_of(precision));
      tally.near(run.loss, e.at("per_pair_loss")[i], tolerance(precision, c, 10), "per_pair_loss");
    }
  }
}

// In float32 only the per-token inputs are; the sums are the product's, in double.
void long_sequence(const Json& c, Precision precision, Tally& tally) {
  tally.ran();
  FixtureRow row;
  for (int t = 0; t < c.at("n").get<int>(); ++t) {
    const double reference = -(1 + ((37 * t) % 101) / 64.0);
    row.reference_logps.push_back(reference);
    row.logps.push_back(reference + ((t % 3) - 1) * std::ldexp(1.0, -12) +
                        (t % 64 == 0 ? std::ldexp(1.0, -10) : 0));
  }
  const LossFixture fixture({row, FixtureRow{}});
  for (const auto& [name, field] :
       {std::pair{"forward_kl", "score_forward_kl"}, {"js", "score_js"}, {"reverse_kl", "log_ratio"}}) {
    const Json link = {{"divergence", name}, {"alpha", nullptr}, {"beta", 1.0}};
    const LossRun run = fixture.run(*objective_of(link, std::nullopt), dtype_of(precision));
    if (!run.status.ok()) return tally.fail(run.status.message());
    tally.near(metric(run, "rewards/chosen"), c.at(field), {}, field);
    tally.near(metric(run, "logps/chosen"), c.at("sum_policy"), {}, "sum_policy");
  }
}

// Beside a sound pair, so that something is left.
void invalid_input(const Json& c, Precision precision, Tally& tally) {
  tally.ran();
  tally.equal("drop_pair", c.at("expect"), "expect");
  const Json link = {{"divergence", "forward_kl"}, {"alpha", nullptr}, {"beta", 0.1}};
  std::vector<FixtureRow> rows = pair_rows(c);
  rows.push_back({.logps = {-2}, .reference_logps = {-2}});
  rows.push_back({.logps = {-3}, .reference_logps = {-3}});
  const LossRun run = LossFixture(rows).run(*objective_of(link, std::nullopt), dtype_of(precision));
  if (!run.status.ok()) return tally.fail(run.status.message());
  tally.near(run.metrics.at("pairs/dropped").sum, 1, {}, "pairs dropped");
  tally.near(run.loss, std::log(2.0) / 2, {}, "loss of the pair that is left");
  for (const size_t r : {0, 1}) tally.near(run.gradient[r][0], 0, {}, "gradient of a dropped pair");
}

// A metric of evaluation, in double.
void ece(const Json& c, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  tally.ran();
  Metrics metrics;
  add_calibration(numbers(c.at("confidence")), numbers(c.at("correct")), c.at("num_bins").get<int64_t>(),
                  metrics);
  conclude_calibration(metrics);
  tally.near(metrics.at("rewards/ece").mean(), c.at("expected_ece"), {}, "expected_ece");
}

}  // namespace

void add_f_dpo_ops(Ops& ops) {
  ops.add("f_dpo.scores", score);
  ops.add("f_dpo.f_prime_inverse", inverse);
  ops.add("f_dpo.pairs", pair_case);
  ops.add("f_dpo.exponent_guards", exponent_guard);
  ops.add("f_dpo.token_batches", token_batches);
  ops.add("f_dpo.long_sequence", long_sequence);
  ops.add("f_dpo.invalid_inputs", invalid_input);
  ops.add("f_dpo.ece", ece);
}

}  // namespace fulcrum::replay
