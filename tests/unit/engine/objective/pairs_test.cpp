// The objectives over pairs: dpo with its losses, tdpo, and the edge cases of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/objective/calibration.h"
#include "tests/support/loss_fixture.h"
#include "tests/support/objectives.h"

namespace fulcrum {
namespace {

using testing::config_of;
using ::testing::Each;
using testing::FixtureRow;
using ::testing::HasSubstr;
using testing::LossFixture;
using testing::LossRun;
using testing::make;
using testing::refusal;

const double kNan = std::nan(""), kInfinity = std::numeric_limits<double>::infinity();

// Two pairs; the first with log-ratios 0.2 and -0.5, the second with -1 and 0.3.
std::vector<FixtureRow> two_pairs() {
  return {{.logps = {-1.0, -0.5}, .reference_logps = {-1.3, -0.4}, .divergence = {0.1, 0.3}},
          {.logps = {-2.5}, .reference_logps = {-2.0}, .divergence = {0.7}},
          {.logps = {-3.0}, .reference_logps = {-2.0}, .divergence = {0.2}},
          {.logps = {-0.1, -0.2, -0.3}, .reference_logps = {-0.3, -0.2, -0.4}, .divergence = {0.05, 0.4, 0}}};
}
constexpr double kMargins[] = {0.7, -1.3};  // of the log-ratios

double softplus(double x) { return std::log1p(std::exp(x)); }

double mean_over_pairs(const std::function<double(double)>& of_margin) {
  return (of_margin(kMargins[0]) + of_margin(kMargins[1])) / 2;
}

TEST(DpoLosses, AreTrlsFormulas) {
  const double beta = 0.4, eps = 0.2;
  const auto loss = [&](const std::string& type, double smoothing) {
    ObjectiveConfig config = config_of("dpo", type);
    config.beta = beta;
    config.label_smoothing = smoothing;
    return LossFixture(two_pairs()).run(*make(config)).loss;
  };
  EXPECT_NEAR(loss("sigmoid", 0), mean_over_pairs([&](double m) { return softplus(-beta * m); }), 1e-14);
  EXPECT_NEAR(loss("sigmoid", eps), mean_over_pairs([&](double m) {
                return (1 - eps) * softplus(-beta * m) + eps * softplus(beta * m);
              }),
              1e-14);
  EXPECT_NEAR(loss("robust", eps), mean_over_pairs([&](double m) {
                return ((1 - eps) * softplus(-beta * m) - eps * softplus(beta * m)) / (1 - 2 * eps);
              }),
              1e-14);
  EXPECT_NEAR(loss("hinge", 0), mean_over_pairs([&](double m) { return std::max(0.0, 1 - beta * m); }),
              1e-14);
  const double first = 0.2 / 2 - -0.5 - 1 / (2 * beta), second = -1.0 - 0.3 / 3 - 1 / (2 * beta);
  EXPECT_NEAR(loss("ipo", 0), (first * first + second * second) / 2, 1e-14);
}

TEST(DpoLosses, TheDefaultIsSigmoidAndRobustWithoutSmoothingIsItToo) {
  const LossRun plain = LossFixture(two_pairs()).run(*make(config_of("dpo")));
  for (const char* type : {"sigmoid", "robust"}) {
    const LossRun same = LossFixture(two_pairs()).run(*make(config_of("dpo", type)));
    EXPECT_EQ(same.loss, plain.loss);
    EXPECT_EQ(same.gradient, plain.gradient);
  }
}

// Rafailov et al., arXiv 2305.18290, eq. 7, written out.
TEST(DpoLosses, ReverseKlIsDpoToTheLastBit) {
  const double beta = 0.3;
  const at::Tensor logps = at::tensor({-1.0, -0.5, -2.5}, at::kDouble).requires_grad_(true);
  const at::Tensor ratio = logps - at::tensor({-1.3, -0.4, -2.0}, at::kDouble);
  const at::Tensor margin = beta * ratio.narrow(0, 0, 2).sum() - beta * ratio[2];
  const at::Tensor loss = -at::log_sigmoid(margin);
  loss.backward();
  ObjectiveConfig config = config_of("dpo");
  config.f_divergence_type = "reverse_kl";
  config.beta = beta;
  const std::vector<FixtureRow> all = two_pairs();
  const LossRun run = LossFixture({all[0], all[1]}).run(*make(config));
  EXPECT_EQ(run.loss, loss.item<double>());
  EXPECT_EQ(run.gradient[0][0], logps.grad()[0].item<double>());
  EXPECT_EQ(run.gradient[1][0], logps.grad()[2].item<double>());
}

// Where both sides lie far above or far below the reference, the difference of two scores has no digits left
// (f-DPO's stable forms): the expected values are written with one exponential.
TEST(DpoLosses, MarginsDoNotCancel) {
  struct Case {
    const char* divergence;
    double beta, policy_chosen, policy_rejected, reference, margin;
  };
  const double above = std::exp(-49.5) * -std::expm1(-0.5);  // of log-ratios 50 and 49.5
  for (const Case& c :
       {Case{"forward_kl", 1, -10, -10.5, -60, above}, Case{"js_divergence", 1, -10, -10.5, -60, above},
        Case{"forward_kl", 1e-5, -60 - 0x1p-24, -60, -25, -1e-5 * std::exp(35.0) * std::expm1(0x1p-24)},
        Case{"hellinger", 1, -10, -10.5, -90, std::exp(-79.5 / 2) * -std::expm1(-0.25)}}) {
    ObjectiveConfig config = config_of("dpo");
    config.f_divergence_type = c.divergence;
    config.f_exponent_cap = std::nullopt;
    config.beta = c.beta;
    const LossRun run = LossFixture({{.logps = {c.policy_chosen}, .reference_logps = {c.reference}},
                                     {.logps = {c.policy_rejected}, .reference_logps = {c.reference}}})
                            .run(*make(config));
    EXPECT_NEAR(run.metrics.at("rewards/margins").mean() / c.margin, 1, 1e-12) << c.divergence;
    EXPECT_EQ(run.metrics.at("rewards/accuracies").mean(), c.margin > 0 ? 1 : 0);
    EXPECT_NEAR(run.loss / (std::max(-c.margin, 0.0) + std::log1p(std::exp(-std::abs(c.margin)))), 1, 1e-12);
  }
}

TEST(DpoLosses, KeysThatWouldDoNothingAreErrors) {
  for (const char* type : {"hinge", "ipo"}) {
    ObjectiveConfig config = config_of("dpo", type);
    config.label_smoothing = 0.1;
    EXPECT_THAT(refusal(config), HasSubstr("label_smoothing does nothing with loss_type"));
  }
  EXPECT_THAT(refusal(config_of("dpo", "dapo")), HasSubstr("trainer 'dpo' has no loss_type 'dapo'"));
  EXPECT_THAT(refusal(config_of("grpo", "ipo")), HasSubstr("trainer 'grpo' has no loss_type 'ipo'"));
  ObjectiveConfig alpha = config_of("tdpo", "tdpo1");
  alpha.tdpo_alpha = 0.5;
  EXPECT_THAT(refusal(alpha), HasSubstr("tdpo_alpha does nothing with loss_type 'tdpo1'"));
}

TEST(Tdpo, IsThePapersLossInBothVariants) {
  const double beta = 0.4, alpha = 0.6;
  const double pull[] = {0.7 - 0.4, 0.45 - 0.2};  // K of the rejected less K of the chosen
  const auto want = [&](double weight) {
    return (softplus(-beta * (kMargins[0] - weight * pull[0])) +
            softplus(-beta * (kMargins[1] - weight * pull[1]))) /
           2;
  };
  ObjectiveConfig first = config_of("tdpo", "tdpo1");
  first.beta = beta;
  EXPECT_NEAR(LossFixture(two_pairs()).run(*make(first)).loss, want(1), 1e-14);
  ObjectiveConfig second = config_of("tdpo");
  second.beta = beta;
  second.tdpo_alpha = alpha;
  EXPECT_NEAR(LossFixture(two_pairs()).run(*make(second)).loss, want(alpha), 1e-14);
}

TEST(Tdpo, OnlyTdpo1LetsTheChosenTextsDivergenceMove) {
  ObjectiveConfig second = config_of("tdpo");
  second.tdpo_alpha = 1;
  const LossRun one = LossFixture(two_pairs()).run(*make(config_of("tdpo", "tdpo1")));
  const LossRun two = LossFixture(two_pairs()).run(*make(second));
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_EQ(one.gradient, two.gradient);
  EXPECT_LT(one.divergence_gradient[0][0], 0);
  EXPECT_THAT(two.divergence_gradient[0], Each(0.0));
  EXPECT_EQ(one.divergence_gradient[1], two.divergence_gradient[1]);
}

TEST(Tdpo, AtAlphaZeroItIsDpoToTheLastBit) {
  ObjectiveConfig config = config_of("tdpo");
  config.tdpo_alpha = 0;
  const LossRun tdpo = LossFixture(two_pairs()).run(*make(config));
  const LossRun dpo = LossFixture(two_pairs()).run(*make(config_of("dpo")));
  EXPECT_EQ(tdpo.loss, dpo.loss);
  EXPECT_EQ(tdpo.gradient, dpo.gradient);
  for (const auto& row : tdpo.divergence_gradient) EXPECT_THAT(row, Each(0.0));
}

TEST(Tdpo, WhereThePolicyIsTheReferenceTheLossIsLogTwoForEveryAlpha) {
  std::vector<FixtureRow> rows = two_pairs();
  for (FixtureRow& row : rows) {
    row.reference_logps = row.logps;
    std::fill(row.divergence.begin(), row.divergence.end(), 0.0);
  }
  for (const double alpha : {0.0, 0.5, 3.0}) {
    ObjectiveConfig config = config_of("tdpo");
    config.tdpo_alpha = alpha;
    EXPECT_DOUBLE_EQ(LossFixture(rows).run(*make(config)).loss, std::log(2.0));
  }
}

TEST(Tdpo, AnEmptyCompletionHasNoMarginNoDivergenceAndIsCounted) {
  std::vector<FixtureRow> rows = two_pairs();
  rows[1] = {.logps = {}};
  const LossRun run = LossFixture(rows).run(*make(config_of("tdpo", "tdpo1")));
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  const double beta = 0.1;
  const double first = softplus(-beta * (0.2 + 0.4)), second = softplus(-beta * (-1.3 - (0.45 - 0.2)));
  EXPECT_NEAR(run.loss, (first + second) / 2, 1e-14);
  EXPECT_EQ(run.prepared.at("pairs/empty").sum, 1);
}

TEST(Tdpo, ATiedPairHasLossLogTwoAndOnlyTdpo2StillPullsTheRejectedSide) {
  const FixtureRow row{.logps = {-1.0}, .reference_logps = {-1.5}, .divergence = {0.3}};
  const LossRun one = LossFixture({row, row}).run(*make(config_of("tdpo", "tdpo1")));
  const LossRun two = LossFixture({row, row}).run(*make(config_of("tdpo")));
  EXPECT_DOUBLE_EQ(one.loss, std::log(2.0));
  EXPECT_DOUBLE_EQ(two.loss, std::log(2.0));
  EXPECT_EQ(one.divergence_gradient[0][0], -one.divergence_gradient[1][0]);
  EXPECT_EQ(two.divergence_gradient[0][0], 0);
  EXPECT_DOUBLE_EQ(two.divergence_gradient[1][0], 0.5 * 0.1 * 0.5);  // alpha c
  EXPECT_EQ(two.prepared.at("pairs/identical").sum, 0);              // the fixture's tokens differ
}

TEST(Tdpo, AnInfiniteDivergenceIsRefusedAndNamesTheRow) {
  std::vector<FixtureRow> rows = two_pairs();
  rows[2].divergence[0] = kInfinity;
  const LossRun run = LossFixture(rows).run(*make(config_of("tdpo")));
  EXPECT_EQ(run.status.code(), Code::kDataLoss);
  EXPECT_THAT(run.status.message(),
              HasSubstr("divergence to the reference of token 0 of a completion of prompt row 102 is inf"));
}

TEST(Tdpo, ReportsTheDivergencesAndBothMargins) {
  const LossRun run = LossFixture(two_pairs()).run(*make(config_of("tdpo")));
  const auto metric = [&](const char* name) { return run.metrics.at(name).mean(); };
  EXPECT_NEAR(metric("tdpo/seq_kl_chosen"), (0.4 + 0.2) / 2, 1e-15);
  EXPECT_NEAR(metric("tdpo/seq_kl_rejected"), (0.7 + 0.45) / 2, 1e-15);
  EXPECT_NEAR(metric("tdpo/seq_kl_margin"), (0.3 + 0.25) / 2, 1e-15);
  EXPECT_NEAR(metric("tdpo/kl_per_token"), 1.75 / 7, 1e-15);
  EXPECT_NEAR(metric("rewards/chosen"), 0.1 * (0.2 + 0.4 - 1.0 + 0.2) / 2, 1e-15);
  EXPECT_NEAR(metric("rewards/dpo_margins"), 0.1 * (kMargins[0] + kMargins[1]) / 2, 1e-15);
}

TEST(Tdpo, AsksForTheDivergenceItsKeyNames) {
  const auto usual = make(config_of("tdpo"));
  EXPECT_TRUE(usual->needs().divergence);
  EXPECT_TRUE(usual->needs().pairs);
  EXPECT_EQ(usual->divergence()->name(), "forward_kl");
  ObjectiveConfig config = config_of("tdpo");
  config.f_divergence_type = "total_variation";  // a link could not be, a divergence may
  EXPECT_EQ(make(config)->divergence()->name(), "total_variation");
}

TEST(Pairs, OneWithALogProbThatIsNotFiniteIsDroppedAndCounted) {
  for (const std::string trainer : {"dpo", "tdpo"}) {
    for (const double bad : {kNan, -kInfinity}) {
      for (const bool of_reference : {true, false}) {
        SCOPED_TRACE(trainer);
        std::vector<FixtureRow> rows = two_pairs();
        (of_reference ? rows[1].reference_logps : rows[1].logps)[0] = bad;
        const LossRun run = LossFixture(rows).run(*make(config_of(trainer)));
        ASSERT_TRUE(run.status.ok()) << run.status.message();
        const LossRun left = LossFixture({rows[2], rows[3]}).run(*make(config_of(trainer)));
        EXPECT_DOUBLE_EQ(run.loss, left.loss / 2);
        EXPECT_THAT(run.gradient[0], Each(0.0));
        EXPECT_THAT(run.gradient[1], Each(0.0));
        EXPECT_EQ(run.metrics.at("pairs/dropped").sum, 1);
        EXPECT_EQ(run.metrics.at("rewards/margins").count, 1);
      }
    }
  }
}

TEST(Pairs, ASliceMayLoseAllOfItsPairsAStepMayNot) {
  const FixtureRow sound{.logps = {-1}, .reference_logps = {-1}, .divergence = {0.1}};
  const FixtureRow bad{.logps = {-1}, .reference_logps = {-kInfinity}, .divergence = {0.1}};
  for (const std::string trainer : {"dpo", "tdpo"}) {
    const auto objective = make(config_of(trainer));
    for (const bool one_is_left : {true, false}) {
      LossRun run =
          LossFixture({bad, sound, one_is_left ? sound : bad, sound}).run(*objective, at::kDouble, 2);
      ASSERT_TRUE(run.status.ok()) << run.status.message();
      EXPECT_THAT(run.gradient[0], Each(0.0));
      EXPECT_EQ(run.metrics.at("pairs/dropped").sum, one_is_left ? 1 : 2);
      const Status end = objective->conclude(run.metrics);
      EXPECT_EQ(end.code(), one_is_left ? Code::kOk : Code::kDataLoss);
      EXPECT_EQ(end.message().find("no pair of the step is left") == 0, !one_is_left);
    }
  }
}

TEST(Pairs, OfEqualTextsHaveLossLogTwoGradientsThatCancelAndAreCounted) {
  // Without tokens both texts are equal, and so are all empty ones.
  const LossRun empty = LossFixture({{.logps = {}}, {.logps = {}}, {.logps = {-1}}, {.logps = {-2}}})
                            .run(*make(config_of("dpo")));
  EXPECT_EQ(empty.prepared.at("pairs/identical").sum, 1);
  EXPECT_EQ(empty.prepared.at("pairs/empty").sum, 1);
  const FixtureRow row{.logps = {-1.0, -2.0}, .reference_logps = {-1.5, -1.0}};
  const LossRun same = LossFixture({row, row}).run(*make(config_of("dpo")));
  EXPECT_DOUBLE_EQ(same.loss, std::log(2.0));
  EXPECT_EQ(same.gradient[0][0], -same.gradient[1][0]);
  EXPECT_EQ(same.metrics.at("rewards/accuracies").mean(), 0);
}

// Cancelling is not enough: AdamW would divide the rounding that is left by its own size.
TEST(Pairs, OfEqualTextsHaveNoGradientAtAllInDpoAndReward) {
  TrainBatch batch;
  batch.rows = {{.target_begin = 0, .target_end = 2},
                {.target_begin = 2, .target_end = 4},
                {.target_begin = 4, .target_end = 5},
                {.target_begin = 5, .target_end = 6}};
  batch.target_ids = {7, 8, 7, 8, 7, 9};
  batch.target_row = {0, 0, 1, 1, 2, 3};
  batch.target_mask = {1, 1, 1, 1, 1, 1};
  batch.reference_logps = {-1, -1, -1, -1, -1, -1};
  Metrics metrics;
  ObjectiveState state;
  ASSERT_TRUE(make(config_of("dpo"))->prepare(batch, state, metrics).ok());
  EXPECT_EQ(metrics.at("pairs/identical").sum, 1);
  EXPECT_THAT(batch.target_mask, ::testing::ElementsAre(0, 0, 0, 0, 1, 1));
  LossInput input(batch);
  input.scores_R = at::tensor({0.5, 0.5, 1.0, -1.0}, at::kDouble).set_requires_grad(true);
  const auto reward = make(config_of("reward"))->loss(input);
  ASSERT_TRUE(reward.ok()) << reward.status().message();
  reward->loss.backward();
  EXPECT_EQ(input.scores_R.grad()[0].item<double>(), 0);
  EXPECT_EQ(input.scores_R.grad()[1].item<double>(), 0);
  EXPECT_NE(input.scores_R.grad()[2].item<double>(), 0);
}

TEST(Calibration, IsTheSameHoweverTheStepIsCut) {
  const auto dpo = make(config_of("dpo"));
  std::vector<Metrics> said;
  for (const int64_t micro : {0, 2}) {
    LossRun run = LossFixture(two_pairs()).run(*dpo, at::kDouble, micro);
    EXPECT_TRUE(dpo->conclude(run.metrics).ok());
    said.push_back(run.metrics);
  }
  EXPECT_EQ(said[0].size(), said[1].size());
  // Confidence sigma(0.07) in a right order, sigma(0.13) in a wrong one, both in the sixth bin.
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_NEAR(said[0].at("rewards/ece").mean(), std::abs(sigma(0.07) + sigma(0.13) - 1) / 2, 1e-15);
  EXPECT_NEAR(said[1].at("rewards/ece").mean(), said[0].at("rewards/ece").mean(), 1e-15);
}

TEST(Calibration, CertaintyFallsIntoTheLastBinAndNothingGivesNoNumber) {
  Metrics metrics;
  add_calibration({}, {}, 10, metrics);
  conclude_calibration(metrics);
  EXPECT_TRUE(metrics.empty());
  const double confidence[] = {1.0, 1.0}, correct[] = {1.0, 0.0};
  add_calibration(confidence, correct, 10, metrics);
  conclude_calibration(metrics);
  EXPECT_DOUBLE_EQ(metrics.at("rewards/ece").mean(), 0.5);
}

}  // namespace
}  // namespace fulcrum
