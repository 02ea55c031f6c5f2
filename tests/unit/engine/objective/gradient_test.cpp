// Every objective's gradient against central differences of its own loss, at every option that changes the
// loss.
#include <gtest/gtest.h>

#include "engine/divergence/generators/table.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum {
namespace {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;

// Log-ratios on both sides of the clip range, a gap in a mask, an empty row, a masked row.
std::vector<FixtureRow> rows_for_policy_gradient() {
  return {{.logps = {-0.71, -1.9, -0.4},
           .old_logps = {-1.0, -1.95, -0.9},
           .reference_logps = {-0.5, -2.5, -0.6},
           .reward = 1.0},
          {.logps = {-2.0, -0.35, -1.2},
           .old_logps = {-1.4, -0.3, -1.1},
           .reference_logps = {-2.2, -0.9, -0.1},
           .mask = {1, 0, 1},
           .reward = 0.0},
          {.logps = {}, .old_logps = {}, .reward = 0.5},
          {.logps = {-0.9}, .old_logps = {-3.0}, .reference_logps = {-1.0}, .reward = 0.25, .group = 1},
          {.logps = {-0.3, -0.8},
           .old_logps = {-0.25, -2.1},
           .reference_logps = {-0.2, -0.4},
           .reward = 0.75,
           .group = 1,
           .truncated = true},
          {.logps = {-1.0, -1.0},
           .old_logps = {-1.0, -1.0},
           .reference_logps = {-1.0, -1.0},
           .reward = std::nullopt,
           .group = 1}};
}

std::vector<FixtureRow> with_rehearsal() {
  std::vector<FixtureRow> rows = rows_for_policy_gradient();
  rows.push_back({.logps = {-0.5, -9.0, -0.1},
                  .old_logps = {0, 0, 0},
                  .stored_logps = {-0.7, -1.0, -6.0},
                  .rehearsal = true});
  rows.push_back({.logps = {-1.5, -0.2},
                  .old_logps = {0, 0},
                  .stored_logps = {-1.5, -0.3},
                  .mask = {0, 1},
                  .rehearsal = true});
  return rows;
}

std::vector<FixtureRow> pairs() {
  return {{.logps = {-0.7, -1.9}, .reference_logps = {-1.0, -1.5}},
          {.logps = {-2.0, -0.35, -1.2}, .reference_logps = {-1.2, -0.9, -1.0}, .mask = {1, 0, 1}},
          {.logps = {-0.9}, .reference_logps = {-3.0}},
          {.logps = {}},
          {.logps = {-30.0}, .reference_logps = {-5.0}},
          {.logps = {-1.0}, .reference_logps = {-2.0}}};
}

void expect_gradient(const ObjectiveConfig& config, std::vector<FixtureRow> rows) {
  const auto made = make_objective(config);
  ASSERT_TRUE(made.ok()) << made.status().message();
  const Objective& objective = **made;
  LossFixture fixture(std::move(rows));
  const LossRun run = fixture.run(objective);
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  double moved = 0;
  for (size_t r = 0; r < fixture.rows().size(); ++r) {
    for (size_t t = 0; t < fixture.rows()[r].logps.size(); ++t) {
      double& logp = fixture.rows()[r].logps[t];
      const double at = logp, h = 1e-5;
      logp = at + h;
      const double up = fixture.run(objective).loss;
      logp = at - h;
      const double down = fixture.run(objective).loss;
      logp = at;
      const double numeric = (up - down) / (2 * h);
      EXPECT_NEAR(run.gradient[r][t], numeric, 1e-7 * (1 + std::abs(numeric)))
          << "row " << r << " token " << t;
      moved += std::abs(run.gradient[r][t]);
    }
  }
  EXPECT_GT(moved, 0) << "a loss without a gradient was checked";
  // The same loss and gradient however the step is cut; bnpo's depends on it by definition.
  if (config.loss_type == "bnpo") return;
  const LossRun cut = fixture.run(objective, at::kDouble, 2);
  EXPECT_NEAR(cut.loss, run.loss, 1e-12 * (1 + std::abs(run.loss)));
  for (size_t r = 0; r < run.gradient.size(); ++r) {
    for (size_t t = 0; t < run.gradient[r].size(); ++t) {
      EXPECT_NEAR(cut.gradient[r][t], run.gradient[r][t], 1e-13 * (1 + std::abs(run.gradient[r][t])));
    }
  }
}

TEST(ObjectiveGradient, Sft) {
  ObjectiveConfig config;
  config.trainer = "sft";
  expect_gradient(config, rows_for_policy_gradient());
}

TEST(ObjectiveGradient, GrpoAtEveryLossTypeAndEstimator) {
  for (const std::string loss_type : {"grpo", "bnpo", "dr_grpo", "dapo"}) {
    for (const std::string estimator : {"k1", "k2", "k3"}) {
      for (const double beta : {0.0, 0.3}) {
        SCOPED_TRACE(loss_type + " " + estimator);
        ObjectiveConfig config;
        config.loss_type = loss_type;
        config.kl_estimator = estimator;
        config.beta = beta;
        config.epsilon_high = 0.28;
        config.delta = 3.0;
        config.num_iterations = 2;
        config.max_completion_length = 4;
        expect_gradient(config, rows_for_policy_gradient());
      }
    }
  }
}

TEST(ObjectiveGradient, GrpoAtEveryScaleOfRewards) {
  for (const std::string scale : {"group", "batch", "none"}) {
    SCOPED_TRACE(scale);
    ObjectiveConfig config;
    config.scale_rewards = scale;
    config.num_iterations = 2;
    config.mask_truncated_completions = true;
    expect_gradient(config, rows_for_policy_gradient());
  }
}

TEST(ObjectiveGradient, DpoAtEveryAdmissibleLink) {
  for (const std::string name : {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence", "hellinger",
                                 "jeffreys", "chi_po", "reverse_chi_squared"}) {
    SCOPED_TRACE(name);
    ObjectiveConfig config;
    config.trainer = "dpo";
    config.f_divergence_type = name;
    config.f_exponent_cap = 3;  // the last pair lies on the tangent
    config.label_smoothing = 0.1;
    expect_gradient(config, pairs());
  }
}

TEST(ObjectiveGradient, DpoAtEveryLoss) {
  for (const std::string loss_type : {"sigmoid", "robust", "hinge", "ipo"}) {
    for (const std::string name : {"reverse_kl", "js_divergence"}) {
      SCOPED_TRACE(loss_type + " " + name);
      ObjectiveConfig config;
      config.trainer = "dpo";
      config.loss_type = loss_type;
      config.f_divergence_type = name;
      if (loss_type == "robust") config.label_smoothing = 0.1;
      expect_gradient(config, pairs());
    }
  }
}

TEST(ObjectiveGradient, TdpoInBothVariants) {
  std::vector<FixtureRow> rows = pairs();
  for (FixtureRow& row : rows) row.divergence = row.logps;
  for (FixtureRow& row : rows) {
    for (double& d : row.divergence) d *= -0.3;
  }
  for (const std::string loss_type : {"tdpo1", "tdpo2"}) {
    ObjectiveConfig config;
    config.trainer = "tdpo";
    config.loss_type = loss_type;
    expect_gradient(config, rows);
  }
}

TEST(ObjectiveGradient, DphRlAtEveryDivergence) {
  for (const std::string& name : divergence_names()) {
    for (const std::string loss_type : {"dapo", "grpo", "dr_grpo"}) {
      SCOPED_TRACE(name + " " + loss_type);
      ObjectiveConfig config;
      config.trainer = "dph_rl";
      config.f_divergence_type = name;
      config.loss_type = loss_type;
      config.dph_eta = 0.2;
      config.num_iterations = 2;
      config.beta = 0.05;
      expect_gradient(config, with_rehearsal());
    }
  }
}

}  // namespace
}  // namespace fulcrum
