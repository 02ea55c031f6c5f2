// The losses over pairs against numbers that other trainers gave (their README: which, and how they were
// made).
#include <gtest/gtest.h>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/loss_fixture.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;
using Numbers = std::vector<double>;

constexpr double kDigits = 1e-8;  // the files give ten significant ones

std::vector<Json> cases(const std::string& file, const std::string& function) {
  const Json all = parse_json(read_file(testing::test_data() / "algo-vectors" / file).value()).value();
  std::vector<Json> out;
  for (const Json& c : all) {
    if (c["function"] == function) out.push_back(c);
  }
  EXPECT_FALSE(out.empty()) << function;
  return out;
}

double mean(const Numbers& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

// The gradient of the summed losses, which is the mean's times the pairs.
void expect_gradient(const std::vector<Numbers>& got, const Json& want, size_t side, double pairs) {
  const auto numbers = want.get<Numbers>();
  for (size_t i = 0; i < numbers.size(); ++i) EXPECT_NEAR(got[2 * i + side][0] * pairs, numbers[i], kDigits);
}

// Sequence sums as completions of one token.
std::vector<FixtureRow> rows_of(const Json& in, const std::string& policy, const std::string& reference) {
  std::vector<FixtureRow> rows;
  for (size_t i = 0; i < in[policy + "chosen_logps"].size(); ++i) {
    for (const std::string side : {"chosen", "rejected"}) {
      rows.push_back({.logps = {in[policy + side + "_logps"][i].get<double>()},
                      .reference_logps = {in[reference + side + "_logps"][i].get<double>()}});
    }
  }
  return rows;
}

TEST(PeerPairs, EveryLinkOfThePaperAgreesWithItsCode) {
  FULCRUM_NEEDS_DATA("algo-vectors/dpo_family.json");
  for (const auto& [function, name] : {std::pair{"dpo_loss", "reverse_kl"},
                                       {"forward_dpo_loss", "forward_kl"},
                                       {"js_dpo_loss", "js_divergence"},
                                       {"alpha_dpo_loss", "alpha_divergence"}}) {
    for (const Json& c : cases("dpo_family.json", function)) {
      ObjectiveConfig config;
      config.trainer = "dpo";
      config.beta = c["params"]["beta"].get<double>();
      config.f_divergence_type = name;
      config.f_alpha_divergence_coef = 1 - c["params"].value("alpha", 0.5);  // the paper's alpha
      const LossRun run =
          LossFixture(rows_of(c["inputs"], "policy_", "reference_")).run(*make_objective(config).value());
      ASSERT_TRUE(run.status.ok()) << run.status.message();
      const auto losses = c["outputs"]["losses"].get<Numbers>();
      EXPECT_NEAR(run.loss, mean(losses), kDigits) << function;
      const auto pairs = static_cast<double>(losses.size());
      expect_gradient(run.gradient, c["grads"]["policy_chosen_logps"], 0, pairs);
      expect_gradient(run.gradient, c["grads"]["policy_rejected_logps"], 1, pairs);
    }
  }
}

TEST(PeerPairs, LabelSmoothingAndIpoAgreeWithOpenRlhf) {
  FULCRUM_NEEDS_DATA("algo-vectors/openrlhf.json");
  for (const Json& c : cases("openrlhf.json", "DPOLoss")) {
    ObjectiveConfig config;
    config.trainer = "dpo";
    config.beta = c["params"]["beta"].get<double>();
    config.label_smoothing = c["params"].value("label_smoothing", 0.0);
    if (c["params"].value("ipo", false)) config.loss_type = "ipo";
    const LossRun run =
        LossFixture(rows_of(c["inputs"], "policy_", "reference_")).run(*make_objective(config).value());
    ASSERT_TRUE(run.status.ok()) << run.status.message();
    EXPECT_NEAR(run.loss, c["outputs"]["loss"].get<double>(), kDigits * run.loss) << c["params"].dump();
  }
}

TEST(PeerPairs, TdpoAgreesWithThePapersCodeInBothVariants) {
  FULCRUM_NEEDS_DATA("algo-vectors/dpo_family.json");
  for (const Json& c : cases("dpo_family.json", "tdpo_loss")) {
    const Json &in = c["inputs"], &out = c["outputs"];
    const auto margin_w = in["chosen_logps_margin"].get<Numbers>(),
               margin_l = in["rejected_logps_margin"].get<Numbers>(),
               kl_w = in["chosen_position_kl"].get<Numbers>(),
               kl_l = in["rejected_position_kl"].get<Numbers>();
    std::vector<FixtureRow> rows;
    for (size_t i = 0; i < margin_w.size(); ++i) {
      rows.push_back({.logps = {margin_w[i]}, .reference_logps = {0}, .divergence = {kl_w[i]}});
      rows.push_back({.logps = {margin_l[i]}, .reference_logps = {0}, .divergence = {kl_l[i]}});
    }
    ObjectiveConfig config;
    config.trainer = "tdpo";
    config.beta = c["params"]["beta"].get<double>();
    const bool second = c["params"]["if_tdpo2"].get<bool>();
    config.loss_type = second ? "tdpo2" : "tdpo1";
    if (second) config.tdpo_alpha = c["params"]["alpha"].get<double>();
    const LossRun run = LossFixture(rows).run(*make_objective(config).value());
    ASSERT_TRUE(run.status.ok()) << run.status.message();
    EXPECT_NEAR(run.loss, mean(out["losses"].get<Numbers>()), kDigits);
    EXPECT_NEAR(run.metrics.at("rewards/chosen").mean(), mean(out["chosen_rewards"].get<Numbers>()), kDigits);
    EXPECT_NEAR(run.metrics.at("rewards/rejected").mean(), mean(out["rejected_rewards"].get<Numbers>()),
                kDigits);
    const auto pairs = static_cast<double>(margin_w.size());
    expect_gradient(run.gradient, c["grads"]["chosen_logps_margin"], 0, pairs);
    expect_gradient(run.gradient, c["grads"]["rejected_logps_margin"], 1, pairs);
    if (!second) expect_gradient(run.divergence_gradient, c["grads"]["chosen_position_kl"], 0, pairs);
    expect_gradient(run.divergence_gradient, c["grads"]["rejected_position_kl"], 1, pairs);
  }
}

TEST(PeerPairs, SigmoidHingeAndRobustAgreeWithLiger) {
  FULCRUM_NEEDS_DATA("algo-vectors/liger.json");
  int compared = 0;
  for (const Json& c : cases("liger.json", "dpo")) {
    const auto loss_type = c["params"]["loss_type"].get<std::string>();
    if (loss_type != "sigmoid" && loss_type != "hinge" && loss_type != "robust") continue;
    ObjectiveConfig config;
    config.trainer = "dpo";
    config.loss_type = loss_type;
    config.beta = c["params"]["beta"].get<double>();
    if (loss_type == "robust") config.label_smoothing = c["params"].value("label_smoothing", 0.0);
    const LossRun run = LossFixture(rows_of(c["inputs"], "", "ref_")).run(*make_objective(config).value());
    ASSERT_TRUE(run.status.ok()) << run.status.message();
    EXPECT_NEAR(run.loss, c["outputs"]["loss"].get<double>(), kDigits) << loss_type;
    expect_gradient(run.gradient, c["grads"]["chosen_logps"], 0, 1);
    expect_gradient(run.gradient, c["grads"]["rejected_logps"], 1, 1);
    ++compared;
  }
  EXPECT_GE(compared, 3);
}

}  // namespace
}  // namespace fulcrum
