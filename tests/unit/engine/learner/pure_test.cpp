// The learner's pure parts: schedules, guards, AdamW, the host state.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/learner/adamw.h"
#include "engine/learner/guards.h"
#include "engine/learner/host_state.h"
#include "engine/learner/schedule.h"

namespace fulcrum {
namespace {

LearnerConfig schedule(const std::string& type, int64_t warmup) {
  LearnerConfig config;
  config.learning_rate = 0.8;
  config.lr_scheduler_type = type;
  config.warmup_steps = warmup;
  return config;
}

TEST(Schedule, WarmsUpFromZeroThenIsConstant) {
  const LearnerConfig c = schedule("constant", 4);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 0, 10), 0.0);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 1, 10), 0.2);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 3, 10), 0.6);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 4, 10), 0.8);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 9, 10), 0.8);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(schedule("constant", 0), 0, 10), 0.8);
}

TEST(Schedule, LinearFallsToZeroAtTheLastStep) {
  const LearnerConfig c = schedule("linear", 2);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 1, 10), 0.4);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 2, 10), 0.8);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 6, 10), 0.4);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 10, 10), 0.0);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 12, 10), 0.0);
}

TEST(Schedule, CosineIsHalfWayInTheMiddle) {
  const LearnerConfig c = schedule("cosine", 2);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 2, 10), 0.8);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(c, 4, 10), 0.4 * (1 + std::sqrt(0.5)));
  EXPECT_NEAR(scheduled_learning_rate(c, 6, 10), 0.4, 1e-15);
  EXPECT_NEAR(scheduled_learning_rate(c, 10, 10), 0.0, 1e-15);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(schedule("cosine", 5), 5, 5),
                   0.8);  // all warm-up: no division by 0
}

TEST(Streak, FiresOnlyInARowAndCountsAll) {
  Streak s;
  EXPECT_FALSE(s.note(true, 2));
  EXPECT_FALSE(s.note(false, 2));
  EXPECT_FALSE(s.note(true, 2));
  EXPECT_TRUE(s.note(true, 2));
  EXPECT_EQ(s.total, 3);
  EXPECT_FALSE(s.note(true, 0));
}

TrainBatch rewarded(const std::vector<std::vector<double>>& groups) {
  TrainBatch out;
  for (const auto& rewards : groups) {
    const auto begin = out.num_rows();
    for (const double r : rewards) {
      BatchRow row;
      row.has_reward = true;
      row.reward = r;
      out.rows.push_back(row);
    }
    out.groups.push_back({0, 1, begin, out.num_rows()});
  }
  return out;
}

TEST(RewardSpread, IsWithinGroupsOnly) {
  EXPECT_TRUE(has_no_reward_spread(rewarded({{1, 1}, {0, 0}})));
  EXPECT_FALSE(has_no_reward_spread(rewarded({{1, 1}, {0, 1}})));
  EXPECT_FALSE(has_no_reward_spread(TrainBatch{}));  // a batch without rewards is not a batch of equal ones
  TrainBatch unscored = rewarded({{1, 0}});
  unscored.rows[1].has_reward = false;
  EXPECT_TRUE(has_no_reward_spread(unscored));
}

TEST(EqualLogps, NamesTheRowAndTheTokenOfTheLargestDifference) {
  TrainBatch batch;
  batch.rows = {{.target_begin = 0, .target_end = 2, .prompt_row = 7},
                {.target_begin = 2, .target_end = 4, .prompt_row = 9}};
  batch.target_row = {0, 0, 1, 1};
  batch.target_ids = {11, 12, 13, 14};
  const std::vector<float> policy{-1, -2, -3, -4}, reference{-1.00001f, -2, -3, -4.5f};
  const Status status = check_equal_logps(batch, policy, reference, 1e-4);
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("row 9, token 1"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("0.5"), std::string::npos);
  EXPECT_TRUE(check_equal_logps(batch, policy, reference, 0.6).ok());
  const std::vector<float> broken{-1, std::numeric_limits<float>::quiet_NaN(), -3, -4};
  EXPECT_FALSE(check_equal_logps(batch, policy, broken, 1e9).ok());
}

TEST(StoredLogps, AreComparedOnRehearsalTargetsOnly) {
  TrainBatch batch;
  batch.rows = {{.target_begin = 0, .target_end = 2, .prompt_row = 7},
                {.target_begin = 2, .target_end = 5, .prompt_row = 9, .rehearsal = true}};
  batch.target_row = {0, 0, 1, 1, 1};
  batch.target_ids = {11, 12, 13, 14, 15};
  batch.target_mask = {1, 1, 1, 1, 0};
  const std::vector<float> policy{-1, -2, -3, -4, -5};
  batch.stored_logps = {0, 0, -3, -4, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(check_stored_logps(batch, policy, 1e-4).ok());
  batch.stored_logps[3] = -4.25f;
  const Status status = check_stored_logps(batch, policy, 1e-4);
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("0.25 (limit 0.0001) at row 9, token 1"), std::string::npos)
      << status.message();
}

at::Tensor leaf(const std::vector<float>& values, std::vector<int64_t> shape) {
  return at::tensor(values).view(shape).clone().set_requires_grad(true);
}

TEST(AdamW, FollowsTheFormulaAndDecaysMatricesOnly) {
  LearnerConfig config;
  config.weight_decay = 0.1;
  const NamedTensors parameters{{"matrix", leaf({0.5f, -1.5f}, {1, 2})}, {"norm", leaf({1.0f, 2.0f}, {2})}};
  AdamW adam(parameters, config);
  double w[4] = {0.5, -1.5, 1.0, 2.0}, m[4] = {}, v[4] = {};
  for (int t = 1; t <= 5; ++t) {
    const double rate = 0.01 * t;
    double g[4];
    for (int i = 0; i < 4; ++i) g[i] = std::sin(1.7 * t + i);
    parameters[0].second.mutable_grad() = at::tensor({float(g[0]), float(g[1])}).view({1, 2});
    parameters[1].second.mutable_grad() = at::tensor({float(g[2]), float(g[3])});
    adam.step(rate);
    for (int i = 0; i < 4; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      const double decay = i < 2 ? 0.1 : 0.0;
      const double update =
          m[i] / (1 - std::pow(0.9, t)) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
      w[i] -= rate * (update + decay * w[i]);
    }
  }
  EXPECT_EQ(adam.steps(), 5);
  const at::Tensor all = at::cat({parameters[0].second.flatten(), parameters[1].second});
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(all[i].item<double>(), w[i], 1e-6) << i;
}

TEST(AdamW, SnapshotAndLoadBringBackTheBits) {
  const NamedTensors parameters{{"w", leaf({0.5f, -1.5f, 3.0f}, {1, 3})}};
  AdamW adam(parameters, {});
  const auto step = [&](AdamW& a) {
    parameters[0].second.mutable_grad() = at::tensor({0.1f, -0.7f, 2.0f}).view({1, 3});
    a.step(0.1);
  };
  step(adam);
  const AdamW::Snapshot before = adam.snapshot();
  TensorMap saved;
  adam.save(saved);
  step(adam);
  const at::Tensor straight = parameters[0].second.detach().clone();
  adam.restore(before);
  EXPECT_EQ(adam.steps(), 1);
  step(adam);
  EXPECT_TRUE(parameters[0].second.equal(straight));

  adam.restore(before);
  AdamW fresh(parameters, {});
  ASSERT_TRUE(fresh.load(saved, 1).ok());
  step(fresh);
  EXPECT_TRUE(parameters[0].second.equal(straight));
  saved.erase("exp_avg_sq/w");
  EXPECT_EQ(fresh.load(saved, 1).code(), Code::kInvalidArgument);
}

TEST(AdamW, TakesTheScaledGradientWithTheSameBitsOnAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::Tensor start = at::randn({300, 500}), gradient = at::randn({300, 500});
  const auto stepped = [&](int n, const at::Tensor& g, double scale) {
    at::set_num_threads(n);
    const NamedTensors parameters{{"w", start.clone().set_requires_grad(true)}};
    AdamW adam(parameters, {});
    parameters[0].second.mutable_grad() = g;
    adam.step(1e-2, scale);
    adam.step(1e-2, scale);
    EXPECT_TRUE(parameters[0].second.grad().equal(g));
    return std::pair(parameters[0].second.detach(), gradient_norm(parameters));
  };
  const auto [alone, norm] = stepped(1, gradient, 0.25);
  const auto [together, same_norm] = stepped(3, gradient, 0.25);
  EXPECT_TRUE(alone.equal(together));
  EXPECT_EQ(norm, same_norm);
  EXPECT_TRUE(alone.equal(stepped(1, gradient * 0.25, 1).first)) << "a power of two scales without rounding";
  at::set_num_threads(threads);
}

TEST(Gradient, IsClippedToTheNormTogether) {
  const NamedTensors parameters{{"a", leaf({0, 0}, {2})}, {"b", leaf({0}, {1})}};
  parameters[0].second.mutable_grad() = at::tensor({2.0f, 3.0f});
  parameters[1].second.mutable_grad() = at::tensor({6.0f});
  EXPECT_NEAR(gradient_norm(parameters), 7.0, 1e-6);
  EXPECT_EQ(clip_factor(7.0, 0), 1);
  EXPECT_EQ(clip_factor(7.0, 8), 1);
  EXPECT_NEAR(clip_factor(7.0, 3.5), 0.5, 1e-6);
  parameters[1].second.mutable_grad() = at::tensor({std::numeric_limits<float>::infinity()});
  EXPECT_FALSE(std::isfinite(gradient_norm(parameters)));
  clear_gradients(parameters);
  EXPECT_EQ(gradient_norm(parameters), 0.0);
}

TEST(HostState, SurvivesItsJsonToTheBit) {
  HostState state;
  state.steps_done = 7;
  state.optimizer_steps = 14;
  state.tokens_seen = 123456789012;
  state.skipped = {1, 3};
  state.zero_spread = {2, 5};
  state.reference_version = 4;
  const double inf = std::numeric_limits<double>::infinity();
  state.objective.values = {{"z", {0.1, -0.0, 5e-324, 1.7976931348623157e308, inf, -inf}}, {"empty", {}}};
  const Json json = parse_json(dump_json(write_host_state(state))).value();
  const auto back = read_host_state(json);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->objective.values, state.objective.values);
  EXPECT_TRUE(std::signbit(back->objective.values.at("z")[1]));
  EXPECT_EQ(dump_json(write_host_state(*back)), dump_json(json));
  EXPECT_EQ(back->tokens_seen, 123456789012);
}

TEST(HostState, RefusesWhatIsNotOne) {
  EXPECT_EQ(read_host_state(Json()).status().code(), Code::kInvalidArgument);
  Json json = write_host_state({});
  json["steps_done"] = -1;
  EXPECT_EQ(read_host_state(json).status().code(), Code::kInvalidArgument);
  json = write_host_state({});
  json.erase("objective");
  EXPECT_EQ(read_host_state(json).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
