// DPH-RL at the edges of its rehearsal set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "engine/objective/rehearsal_term.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum {
namespace {

using ::testing::Each;
using testing::FixtureRow;
using ::testing::HasSubstr;
using testing::LossFixture;
using testing::LossRun;

ObjectiveConfig dph_rl() {
  ObjectiveConfig config;
  config.trainer = "dph_rl";
  config.f_divergence_type = "forward_kl";
  config.dph_eta = 1;
  return config;
}
std::vector<FixtureRow> explored() {
  return {{.logps = {-1, -2}, .reward = 1.0}, {.logps = {-1, -1, -3}, .reward = 0.0}};
}
LossRun run(const ObjectiveConfig& config, const std::vector<FixtureRow>& rows, int64_t micro = 0) {
  const auto made = make_objective(config);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return LossFixture(rows).run(**made, at::kDouble, micro);
}
FixtureRow stored(std::vector<double> logps, std::vector<double> initial, std::vector<int> mask = {}) {
  return {.logps = std::move(logps),
          .stored_logps = std::move(initial),
          .mask = std::move(mask),
          .reward = std::nullopt,
          .rehearsal = true};
}

TEST(DphRlEdge, WithAnEmptyRehearsalSetItIsTheBaseObjectiveBitForBit) {
  ObjectiveConfig grpo;
  EXPECT_EQ(run(dph_rl(), explored()).loss, run(grpo, explored()).loss);
  EXPECT_EQ(run(dph_rl(), explored()).gradient, run(grpo, explored()).gradient);
}

TEST(DphRlEdge, AStoredRowWithoutTokensCountsInNothing) {
  std::vector<FixtureRow> rows = explored();
  rows.push_back(stored({-2}, {-1}));
  const LossRun without = run(dph_rl(), rows);
  rows.push_back(stored({-5, -5}, {-1, -1}, {0, 0}));
  rows.push_back(stored({}, {}));
  const LossRun with = run(dph_rl(), rows);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_THAT(with.gradient[3], Each(0.0));
}

TEST(DphRlEdge, WhereEveryStoredRowIsEmptyNothingIsDividedByZero) {
  std::vector<FixtureRow> rows = explored();
  rows.push_back(stored({-5}, {-1}, {0}));
  const LossRun out = run(dph_rl(), rows);
  EXPECT_EQ(out.loss, run(dph_rl(), explored()).loss);
  EXPECT_EQ(out.gradient[2][0], 0);
}

TEST(DphRlEdge, ATokenOutsideThePolicysVocabularyMaskIsAnErrorThatNamesItsRow) {
  std::vector<FixtureRow> rows = explored();
  rows.push_back(stored({-std::numeric_limits<double>::infinity()}, {-1}));
  const LossRun out = run(dph_rl(), rows);
  EXPECT_EQ(out.status.code(), Code::kDataLoss);
  EXPECT_THAT(out.status.message(), HasSubstr("prompt row 102"));
}

TEST(DphRlEdge, TheBalanceOfTheTwoMeansDoesNotDependOnTheCutUnlessAskedFor) {
  std::vector<FixtureRow> rows = explored();
  for (int i = 0; i < 4; ++i) rows.push_back(stored({-2, -1.5}, {-1, -1}));
  ObjectiveConfig config = dph_rl();
  EXPECT_NEAR(run(config, rows, 1).loss, run(config, rows).loss, 1e-12);
  config.dph_combine = "per_microbatch";
  config.dph_accumulation = 3;
  EXPECT_GT(std::abs(run(config, rows, 1).loss - run(config, rows).loss), 0.1);
}

at::Tensor slope(const RehearsalTerm& term, std::vector<double> at_log_ratios) {
  const at::Tensor d = at::tensor(at_log_ratios, at::kDouble).requires_grad_(true);
  return torch::autograd::grad({term(d).sum()}, {d})[0];
}

TEST(RehearsalTerm, TheReleasedClampsTakeThePullOffExactlyTheTokensThatAreLostMost) {
  const auto forward = *make_divergence("forward_kl");
  const at::Tensor clamped = slope(*RehearsalTerm::create(RehearsalForm::kClamped, forward, 100), {-10, -12});
  EXPECT_NEAR(clamped[0].item<double>(), std::expm1(-10.0), 1e-12);
  EXPECT_EQ(clamped[1].item<double>(), 0);
  const at::Tensor centred = slope(*RehearsalTerm::create(RehearsalForm::kCentred, forward, 100), {-12});
  EXPECT_NEAR(centred[0].item<double>(), -1, 1e-5);
}

TEST(RehearsalTerm, AboveDeltaMaxValueAndSlopeGoOnWithoutAStep) {
  for (const auto& [form, name] :
       {std::pair{RehearsalForm::kCentred, "reverse_kl"}, {RehearsalForm::kRaw, "reverse_kl"}}) {
    const auto term = *RehearsalTerm::create(form, *make_divergence(name), 2);
    const at::Tensor d = at::tensor({2 - 1e-9, 2.0, 2 + 1e-9}, at::kDouble);
    const at::Tensor y = term(d);
    EXPECT_NEAR(y[0].item<double>(), y[2].item<double>(), 1e-6);
    const at::Tensor g = slope(term, {2 - 1e-9, 2, 2 + 1e-9, 50});
    EXPECT_NEAR(g[0].item<double>(), g[2].item<double>(), 1e-6);
    EXPECT_NEAR(g[1].item<double>(), g[2].item<double>(), 1e-12);
    EXPECT_EQ(g[2].item<double>(), g[3].item<double>());
  }
}

}  // namespace
}  // namespace fulcrum
