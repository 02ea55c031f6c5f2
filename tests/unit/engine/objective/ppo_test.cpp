// PPO's own numbers and the reward model's loss; the formulas beneath them are in the golden files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/objective/gae.h"
#include "engine/objective/kl_penalty.h"
#include "engine/objective/whiten.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum {
namespace {

using testing::FixtureRow;
using ::testing::HasSubstr;
using testing::LossFixture;
using testing::LossRun;

ObjectiveConfig ppo() {
  ObjectiveConfig config;
  config.trainer = "ppo";
  config.num_iterations = 2;
  return config;
}

// Ratios and values on both sides of their clip ranges, a gap, an empty row, a row without a reward.
std::vector<FixtureRow> rows() {
  return {{.logps = {-0.75, -2.0, -0.5},
           .old_logps = {-1.0, -1.75, -0.75},
           .reference_logps = {-0.5, -2.5, -0.25},
           .values = {0.5, -0.5, 0.1},
           .old_values = {0.25, 0.25, 0.0},
           .reward = 1.0},
          {.logps = {-2.0, -0.25, -1.25},
           .old_logps = {-1.5, -0.25, -1.0},
           .reference_logps = {-2.25, -1.0, -0.125},
           .values = {0.3, 5.0, -0.25},
           .old_values = {0.125, 0.0, -0.5},
           .mask = {1, 0, 1},
           .reward = -0.5,
           .truncated = true},
          {.logps = {}, .reward = 0.5},
          {.logps = {-0.5, -1.0},
           .old_logps = {-0.25, -2.0},
           .reference_logps = {-0.25, -0.5},
           .values = {1.5, -1.0},
           .old_values = {1.0, 0.5},
           .reward = 0.25},
          {.logps = {-1.0},
           .old_logps = {-1.0},
           .reference_logps = {-1.0},
           .values = {0.0},
           .old_values = {0.0},
           .reward = std::nullopt}};
}

LossRun run(const ObjectiveConfig& config, std::vector<FixtureRow> with, int64_t micro = 0) {
  const auto objective = make_objective(config);
  EXPECT_TRUE(objective.ok()) << objective.status().message();
  if (!objective.ok()) return {.status = objective.status()};
  return LossFixture(std::move(with)).run(**objective, at::kDouble, micro);
}

double mean(const LossRun& r, const std::string& name) {
  const auto& metrics = r.prepared.contains(name) ? r.prepared : r.metrics;
  EXPECT_TRUE(metrics.contains(name)) << name;
  return metrics.contains(name) ? metrics.at(name).mean() : 0;
}

void expect_gradients(const ObjectiveConfig& config) {
  const LossRun at = run(config, rows());
  ASSERT_TRUE(at.status.ok()) << at.status.message();
  const auto check = [&](std::vector<double> FixtureRow::*member,
                         const std::vector<std::vector<double>>& gradient) {
    double moved = 0;
    for (size_t r = 0; r < rows().size(); ++r) {
      for (size_t t = 0; t < (rows()[r].*member).size(); ++t) {
        const double h = 1e-5;
        const auto shifted = [&](double by) {
          std::vector<FixtureRow> copy = rows();
          (copy[r].*member)[t] += by;
          return run(config, copy).loss;
        };
        const double numeric = (shifted(h) - shifted(-h)) / (2 * h);
        EXPECT_NEAR(gradient[r][t], numeric, 1e-7 * (1 + std::abs(numeric))) << r << " " << t;
        moved += std::abs(numeric);
      }
    }
    EXPECT_GT(moved, 0.01);
  };
  check(&FixtureRow::logps, at.gradient);
  check(&FixtureRow::values, at.value_gradient);
  const LossRun cut = run(config, rows(), 2);
  EXPECT_NEAR(cut.loss, at.loss, 1e-12);
}

TEST(Ppo, TheGradientOfPolicyAndCriticIsThatOfTheLoss) {
  expect_gradients(ppo());
  ObjectiveConfig config = ppo();
  config.ppo.cliprange_value.reset();
  config.ppo.kl_in = "loss";
  config.loss_type = "grpo";
  expect_gradients(config);
  config.kl_estimator = "k3";
  config.epsilon_high = 0.5;
  expect_gradients(config);
}

TEST(Ppo, AskForTheReferenceOnlyWhereBetaIsAboveZero) {
  ObjectiveConfig config = ppo();
  EXPECT_TRUE((*make_objective(config))->needs().reference_logps);
  EXPECT_TRUE((*make_objective(config))->needs().policy_logps);
  config.beta = 0;
  EXPECT_FALSE((*make_objective(config))->needs().reference_logps);
  EXPECT_FALSE((*make_objective(config))->needs().policy_logps);
  EXPECT_TRUE((*make_objective(config))->needs().values);
}

// With gamma = lam = 1 a return is the sum of the token rewards that follow: the score minus the KL to come.
TEST(Ppo, TheReturnIsTheScoreMinusTheKlThatFollows) {
  ObjectiveConfig config = ppo();
  config.ppo.lam = 1;
  config.beta = 0.5;
  config.ppo.missing_eos_penalty = 2;
  const LossRun r = run(config, rows());
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  // Row 0: k1 = -0.5, 0.75, -0.5. Row 1: 0.75, masked, -0.875; cut short, so 2 is taken off.
  const std::vector<float> want = {1.125F, 0.875F, 1.25F, -2.4375F, 0.0F, -2.0625F};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_FLOAT_EQ(r.batch.returns[i], want[i]) << i;
  EXPECT_NEAR(mean(r, "objective/kl"), (-0.25 - 0.125 - 1.5) / 3, 1e-12);
  EXPECT_NEAR(mean(r, "objective/scores"), (1.0 - 0.5 + 0.25) / 3, 1e-12);
  EXPECT_NEAR(mean(r, "objective/rlhf_reward"),
              mean(r, "objective/scores") + mean(r, "objective/non_score_reward"), 1e-12);
}

TEST(Ppo, TheAdvantagesAreWhitenedOverTheTokensThatCount) {
  const LossRun r = run(ppo(), rows());
  double sum = 0, squares = 0, n = 0;
  for (size_t i = 0; i < r.batch.advantages.size(); ++i) {
    if (r.batch.target_mask[i] == 0) {
      EXPECT_EQ(r.batch.advantages[i], 0) << i;
      continue;
    }
    sum += static_cast<double>(r.batch.advantages[i]);
    squares += std::pow(static_cast<double>(r.batch.advantages[i]), 2);
    n += 1;
  }
  EXPECT_EQ(n, 7) << "the gap and the row without a reward stay out";
  EXPECT_NEAR(sum, 0, 1e-6);
  EXPECT_NEAR(squares / (n - 1), 1, 1e-6);
}

// The clip share by hand: log-ratios {0.25, -0.25, 0.25} with positive advantages, {-0.5, -0.25} and {-0.25,
// 1} with negative ones.
TEST(Ppo, TheReportedLossAndClipShareAreThoseOfTheSurrogateThatTrains) {
  ObjectiveConfig clipped = ppo(), sequence = ppo(), cispo = ppo(), dppo = ppo();
  sequence.surrogate.importance_sampling_level = "sequence";
  cispo.loss_type = "cispo";
  cispo.epsilon_high = 2;
  dppo.loss_type = "dppo_tv";
  dppo.epsilon = 0.1;
  const std::vector<std::pair<ObjectiveConfig, double>> cases = {
      {clipped, 5}, {sequence, 2}, {cispo, 1}, {dppo, 3}};
  for (auto [config, tokens_clipped] : cases) {
    SCOPED_TRACE(config.loss_type + " " + config.surrogate.importance_sampling_level);
    config.ppo.vf_coef = 0;  // the loss is then the policy's alone, and its average the tokens' mean
    const LossRun r = run(config, rows());
    ASSERT_TRUE(r.status.ok()) << r.status.message();
    EXPECT_NEAR(mean(r, "loss/policy_avg"), r.loss, 1e-12);
    EXPECT_EQ(r.metrics.at("policy/clipfrac_avg").sum, tokens_clipped);
  }
}

TEST(Ppo, TheReportedLossIsTheCorrectedOne) {
  ObjectiveConfig config = ppo();
  config.ppo.vf_coef = 0;
  config.surrogate.importance_sampling_correction = true;
  config.surrogate.importance_sampling_mode = "token_truncate";
  std::vector<FixtureRow> drawn = rows();
  for (FixtureRow& row : drawn) {
    row.sampling_logps = row.old_logps;
    for (double& logp : row.sampling_logps) logp -= 0.5;
  }
  const LossRun plain = run(config, rows()), corrected = run(config, drawn);
  ASSERT_TRUE(corrected.status.ok()) << corrected.status.message();
  EXPECT_NEAR(mean(corrected, "loss/policy_avg"), corrected.loss, 1e-12);
  EXPECT_NEAR(corrected.loss, std::exp(0.5) * plain.loss, 1e-6);
}

TEST(Ppo, AnAdaptiveBetaMovesTowardsTheTargetAndIsKept) {
  ObjectiveConfig config = ppo();
  config.ppo.kl_target = 0.001;  // the rows' KL is negative: beta falls by the most it may
  config.ppo.kl_horizon = 30;
  const auto objective = *make_objective(config);
  ObjectiveState state;
  Metrics first, second;
  TrainBatch one = run(config, rows()).batch, two = one;
  ASSERT_TRUE(objective->prepare(one, state, first).ok());
  ASSERT_TRUE(objective->prepare(two, state, second).ok());
  EXPECT_EQ(first.at("objective/kl_coef").mean(), 0.05);
  EXPECT_NEAR(second.at("objective/kl_coef").mean(), 0.05 * (1 - 0.2 * 3 / 30), 1e-12);
}

// The critic knows the returns' mean and no more, far from 0.
TEST(Ppo, TheExplainedVarianceOfReturnsFarFromZeroKeepsItsDigits) {
  constexpr double kFar = 1 << 24;
  std::vector<FixtureRow> far;
  for (const double reward : {kFar, kFar + 2, kFar + 5})
    far.push_back({.logps = {-1}, .values = {kFar}, .old_values = {kFar}, .reward = reward});
  ObjectiveConfig config = ppo();
  config.beta = 0;
  const LossRun r = run(config, far);
  ASSERT_TRUE(r.status.ok()) << r.status.message();
  EXPECT_NEAR(mean(r, "val/explained_variance"), 0, 1e-6);
}

TEST(Ppo, ANumberThatIsNotFiniteNamesItsRow) {
  for (const auto member : {&FixtureRow::old_values, &FixtureRow::old_logps, &FixtureRow::reference_logps}) {
    std::vector<FixtureRow> broken = rows();
    (broken[1].*member)[2] = std::nan("");
    const Status status = run(ppo(), broken).status;
    EXPECT_EQ(status.code(), Code::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("prompt row 101"));
  }
}

TEST(Ppo, KeysThatWouldDoNothingAreRefused) {
  const auto refusal = [](const auto& change) {
    ObjectiveConfig config = ppo();
    change(config);
    return make_objective(config).status().message();
  };
  EXPECT_THAT(refusal([](auto& c) { c.beta = 0, c.ppo.kl_target = 6; }), HasSubstr("kl_target"));
  EXPECT_THAT(refusal([](auto& c) { c.ppo.kl_in = "loss", c.kl_estimator = "k1"; }), HasSubstr("k2"));
}

// Sutton & Barto's two ends: lam 1 is the return minus the value, lam 0 the error of one step.
TEST(Gae, BetweenTheReturnAndTheErrorOfOneStep) {
  const std::vector<double> r = {0.5, -1, 2, 0.25}, v = {0.1, 0.7, -0.3, 0.9};
  const std::vector<uint8_t> mask = {1, 1, 1, 1};
  double to_come = 0;
  for (size_t t = 4; t-- > 0;) {
    to_come = r[t] + 0.9 * to_come;
    EXPECT_NEAR(gae(r, v, mask, {0.9, 1}).advantages[t], to_come - v[t], 1e-14);
    const double next = t == 3 ? 0 : v[t + 1];
    EXPECT_NEAR(gae(r, v, mask, {0.9, 0}).advantages[t], r[t] + 0.9 * next - v[t], 1e-14);
  }
}

TEST(Whiten, ConstantInputGivesExactlyZero) {
  const std::vector<double> tenths(8, 0.1);
  const std::vector<uint8_t> all(8, 1);
  for (const WhitenKind kind : {WhitenKind::kTrl, WhitenKind::kOpenRlhf, WhitenKind::kAreal}) {
    EXPECT_EQ(whiten(tenths, all, kind, true), std::vector<double>(8, 0.0));
    EXPECT_EQ(whiten(tenths, all, kind, false), tenths);
  }
}

TEST(Whiten, OneTokenOrNoneHasNoSpread) {
  const std::vector<double> x = {3, 4};
  for (const WhitenKind kind :
       {WhitenKind::kTrl, WhitenKind::kVerl, WhitenKind::kOpenRlhf, WhitenKind::kAreal}) {
    EXPECT_EQ(whiten(x, std::vector<uint8_t>{0, 1}, kind, true), (std::vector<double>{0, 0}));
    EXPECT_EQ(whiten(x, std::vector<uint8_t>{0, 0}, kind, true), (std::vector<double>{0, 0}));
  }
}

// Scores as the learner would give them.
struct Judged {
  double loss = 0;
  std::vector<double> gradient;
  Metrics metrics;
};
Judged judge(const ObjectiveConfig& config, const std::vector<double>& scores) {
  const auto objective = *make_objective(config);
  TrainBatch batch;
  for (size_t r = 0; r < scores.size(); ++r) {
    batch.target_ids.push_back(static_cast<TokenId>(r));
    const auto at = static_cast<int64_t>(r);
    batch.rows.push_back({.group = at / 2, .target_begin = at, .target_end = at + 1});
  }
  ObjectiveState state;
  Judged out;
  EXPECT_TRUE(objective->prepare(batch, state, out.metrics).ok());
  LossInput input(batch);
  input.scores_R = at::tensor(scores, at::kDouble).requires_grad_(true);
  const auto loss = objective->loss(input);
  EXPECT_TRUE(loss.ok());
  merge_metrics(out.metrics, loss->metrics);
  out.loss = loss->loss.item<double>();
  loss->loss.backward();
  const at::Tensor gradient = input.scores_R.grad();
  out.gradient.assign(gradient.const_data_ptr<double>(), gradient.const_data_ptr<double>() + scores.size());
  return out;
}

TEST(RewardModel, IsBradleyTerryAndItsGradientIsThatOfTheLoss) {
  ObjectiveConfig config;
  config.trainer = "reward";
  const std::vector<double> scores = {1.5, -0.25, 0.5, 0.5, -3.0, 2.0};
  const Judged plain = judge(config, scores);
  double want = 0;
  for (size_t i = 0; i < scores.size(); i += 2) want += std::log1p(std::exp(scores[i + 1] - scores[i])) / 3;
  EXPECT_NEAR(plain.loss, want, 1e-12);
  EXPECT_NEAR(plain.metrics.at("accuracy").mean(), 1.0 / 3, 1e-12) << "a tie is wrong";
  EXPECT_NEAR(plain.metrics.at("margin").mean(), (1.75 + 0 - 5) / 3, 1e-12);
  for (const double center : {0.0, 0.1}) {
    config.center_rewards_coefficient = center;
    const Judged at = judge(config, scores);
    for (size_t r = 0; r < scores.size(); ++r) {
      const auto shifted = [&](double by) {
        std::vector<double> moved = scores;
        moved[r] += by;
        return judge(config, moved).loss;
      };
      EXPECT_NEAR(at.gradient[r], (shifted(1e-5) - shifted(-1e-5)) / 2e-5, 1e-9) << r;
    }
  }
}

}  // namespace
}  // namespace fulcrum
