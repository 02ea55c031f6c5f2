// Every objective's gradient against central differences of its own loss, at every option that changes the
// loss.
#include <gtest/gtest.h>

#include <cmath>

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
           .sampling_logps = {-1.3, -1.9, -2.9},
           .reward = 1.0},
          {.logps = {-2.0, -0.35, -1.2},
           .old_logps = {-1.4, -0.3, -1.1},
           .reference_logps = {-2.2, -0.9, -0.1},
           .mask = {1, 0, 1},
           .reward = 0.0},
          {.logps = {}, .old_logps = {}, .reward = 0.5},
          {.logps = {-0.9},
           .old_logps = {-3.0},
           .reference_logps = {-1.0},
           .sampling_logps = {-2.7},
           .reward = 0.25,
           .group = 1},
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
  if (config.loss_type == "bnpo" || config.dph_combine == "per_microbatch") return;
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
    for (const std::string estimator : {"k1", "k2", "k3", "abs", "mixture"}) {
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
  for (const std::string scale :
       {"group", "batch", "none", "paper_population", "verl", "verl_vectorized", "openrlhf", "oat"}) {
    SCOPED_TRACE(scale);
    ObjectiveConfig config;
    config.scale_rewards = scale;
    config.num_iterations = 2;
    config.mask_truncated_completions = true;
    expect_gradient(config, rows_for_policy_gradient());
  }
}

ObjectiveConfig several_updates(const std::string& trainer = "grpo") {
  ObjectiveConfig config;
  config.trainer = trainer;
  config.num_iterations = 2;
  config.max_completion_length = 4;
  return config;
}

TEST(ObjectiveGradient, GrpoAtEveryAveragingAndLevelOfTheRatio) {
  for (const std::string mode : {"token_mean", "seq_mean_token_mean", "seq_mean_token_mean_all_rows",
                                 "seq_mean_token_sum", "seq_sum_over_const", "seq_mean_over_const"}) {
    for (const std::string level : {"token", "sequence"}) {
      SCOPED_TRACE(mode + " " + level);
      ObjectiveConfig config = several_updates();
      config.surrogate.loss_agg_mode = mode;
      config.surrogate.importance_sampling_level = level;
      config.surrogate.dual_clip = 3;
      config.epsilon = 0.5;  // some sequence stays inside
      expect_gradient(config, rows_for_policy_gradient());
    }
  }
}

TEST(ObjectiveGradient, GrpoWithARatioCorrectedAndBoundedKl) {
  ObjectiveConfig config = several_updates();
  config.beta = 0.3;
  config.surrogate.use_bias_correction_kl = true;
  config.surrogate.kl_input_clamp = 0.55;
  config.surrogate.kl_output_clamp = 10;
  expect_gradient(config, rows_for_policy_gradient());
}

TEST(ObjectiveGradient, GrpoAtEveryRolloutCorrection) {
  for (const std::string mode : {"token_truncate", "token_mask", "sequence_truncate", "sequence_mask",
                                 "geometric_truncate", "geometric_mask", "geometric_mask_token_weight"}) {
    for (const std::string denominator : {"original", "kept"}) {
      SCOPED_TRACE(mode + " " + denominator);
      ObjectiveConfig config = several_updates();
      config.surrogate.importance_sampling_correction = true;
      config.surrogate.importance_sampling_mode = mode;
      config.surrogate.importance_sampling_floor = 0.05;
      config.surrogate.importance_sampling_denominator = denominator;
      config.surrogate.importance_sampling_normalize = true;
      expect_gradient(config, rows_for_policy_gradient());
    }
  }
}

// A weight or a mask that is constant in the paper is not differentiated: what moves with the log-prob in
// central differences is then not the gradient, so these are checked by their tokens' own weights.
TEST(ObjectiveGradient, CispoIsTheBoundedRatioTimesTheAdvantageOnEveryToken) {
  ObjectiveConfig config = several_updates();
  config.loss_type = "cispo";
  config.epsilon_high = 1.2;
  const LossRun run = LossFixture({{.logps = {-1, -1}, .old_logps = {-2, -1.1}, .advantages = {2, -1}}})
                          .run(**make_objective(config));
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  EXPECT_DOUBLE_EQ(run.gradient[0][0], -1.2);
  EXPECT_DOUBLE_EQ(run.gradient[0][1], std::exp(0.1) / 2);
  EXPECT_EQ(run.metrics.at("clip_ratio/high_mean").mean(), 0.5);
}

TEST(ObjectiveGradient, DppoDropsTheTokenThatHasMovedTooFar) {
  ObjectiveConfig config = several_updates();
  config.loss_type = "dppo_tv";
  const LossRun run = LossFixture({{.logps = {std::log(0.9), std::log(0.55)},
                                    .old_logps = {std::log(0.5), std::log(0.5)},
                                    .advantages = {1, 1}}})
                          .run(**make_objective(config));
  ASSERT_TRUE(run.status.ok()) << run.status.message();
  EXPECT_EQ(run.gradient[0][0], 0);
  EXPECT_NEAR(run.gradient[0][1], -1.1 / 2, 1e-12);
}

TEST(ObjectiveGradient, RlooWithAndWithoutKlAndNormalisation) {
  for (const double beta : {0.0, 0.3}) {
    for (const bool normalize : {false, true}) {
      ObjectiveConfig config = several_updates("rloo");
      config.beta = beta;
      config.surrogate.normalize_advantages = normalize;
      expect_gradient(config, rows_for_policy_gradient());
    }
  }
}

TEST(ObjectiveGradient, ReinforcePpAndItsBaselineVariant) {
  for (const std::string trainer : {"reinforce_pp", "reinforce_pp_baseline"}) {
    for (const double beta : {0.0, 0.3}) {
      SCOPED_TRACE(trainer);
      ObjectiveConfig config = several_updates(trainer);
      config.beta = beta;
      expect_gradient(config, rows_for_policy_gradient());
    }
  }
}

TEST(ObjectiveGradient, DphRlAtEveryFormAndCombination) {
  for (const auto& [form, divergence] : {std::pair{"centred", "js_divergence"},
                                         {"raw", "forward_kl"},
                                         {"raw", "reverse_kl"},
                                         {"clamped", "forward_kl"},
                                         {"mixture", "js_divergence"}}) {
    for (const std::string combine : {"sum_of_means", "per_microbatch"}) {
      SCOPED_TRACE(std::string(form) + " " + divergence + " " + combine);
      ObjectiveConfig config = several_updates("dph_rl");
      config.f_divergence_type = divergence;
      config.dph_form = form;
      config.dph_combine = combine;
      if (combine == "per_microbatch") config.dph_accumulation = 2;
      config.dph_delta_max = 2;
      expect_gradient(config, with_rehearsal());
    }
  }
}

TEST(ObjectiveGradient, DpoAtEveryAdmissibleLink) {
  for (const std::string name : {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence", "hellinger",
                                 "jeffreys", "chi_po", "reverse_chi_squared"}) {
    for (const std::string guard : {"linear", "clamp"}) {
      SCOPED_TRACE(name + " " + guard);
      ObjectiveConfig config;
      config.trainer = "dpo";
      config.f_divergence_type = name;
      config.f_exponent_cap = 3;  // the last pair lies beyond it
      config.f_exponent_guard = guard;
      config.label_smoothing = 0.1;
      expect_gradient(config, pairs());
    }
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
