// A rollout batch in several optimizer steps (num_mini_batches).
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/unit/engine/learner/learner_rig.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

LearnerOptions options_of(int64_t mini_batches, int64_t iterations = 1) {
  LearnerOptions out = fast_options();
  out.num_mini_batches = mini_batches;
  out.num_iterations = iterations;
  out.seed = 4;
  return out;
}

// Five prompts, whose rows are named 100 to 104.
TrainBatch five_groups(uint64_t seed = 1) {
  return random_batch(tiny_spec(), {{4, {6, 3}}, {7, {5, 1, 2}}, {2, {9}}, {3, {4, 4}}, {5, {2, 7}}}, seed);
}

using Gradient = std::map<std::string, std::vector<float>>;

// The last gradient, where adam_beta1 is 0.
Gradient last_gradient(const Learner& learner) {
  Gradient out;
  const LearnerState state = learner.save();
  for (const auto& [name, tensor] : state.tensors) {
    if (name.starts_with("exp_avg/")) out[name] = to_float(tensor).value();
  }
  return out;
}

TEST(MiniBatches, EveryGroupTrainsOnceAnIterationAndInANewOrder) {
  const Rig rig(options_of(2, 4));
  ASSERT_TRUE(rig.learner->step(five_groups(), {}).ok());
  ASSERT_EQ(rig.fake->seen_groups.size(), 8u);
  std::set<std::vector<int64_t>> cuts;
  for (size_t i = 0; i < 8; i += 2) {
    std::vector<int64_t> all = rig.fake->seen_groups[i];
    cuts.insert(all);
    all.insert(all.end(), rig.fake->seen_groups[i + 1].begin(), rig.fake->seen_groups[i + 1].end());
    EXPECT_THAT(all, ::testing::UnorderedElementsAre(100, 101, 102, 103, 104));
  }
  EXPECT_GT(cuts.size(), 1u);
  EXPECT_EQ(rig.fake->prepared.size(), 1u) << "what the objective prepares is of the whole batch";
  EXPECT_EQ(rig.learner->steps_done(), 1);
}

// With a rate of 0 the policy stays, so that every minibatch's gradient is taken at the same point.
TEST(MiniBatches, GradientsTimesDenominatorsAddUpToTheWholeBatchs) {
  const auto run = [](int64_t mini_batches) {
    LearnerOptions options = options_of(mini_batches);
    options.config.learning_rate = 0;
    options.config.adam_beta1 = 0;
    Rig rig(options, {.old_logps = true});
    const TrainBatch batch = five_groups();
    Gradient sum;
    double targets = 0;
    const auto add = [&] {
      double own = 0;
      for (const int64_t name : rig.fake->seen_groups.back()) {
        const BatchGroup& g = batch.groups[static_cast<size_t>(name - 100)];
        own += static_cast<double>(batch.rows[static_cast<size_t>(g.row_end - 1)].target_end -
                                   batch.rows[static_cast<size_t>(g.row_begin)].target_begin);
      }
      targets += own;
      for (const auto& [name, values] : last_gradient(*rig.learner)) {
        sum[name].resize(values.size());
        for (size_t i = 0; i < values.size(); ++i) sum[name][i] += static_cast<float>(own) * values[i];
      }
    };
    // When a minibatch's loss is asked for the one before has been stepped on.
    rig.fake->on_loss = [&](int call) {
      if (call > 0) add();
    };
    EXPECT_TRUE(rig.learner->step(batch, {}).ok());
    add();
    EXPECT_EQ(rig.fake->loss_calls, mini_batches);
    EXPECT_EQ(targets, static_cast<double>(batch.num_targets()));
    return sum;
  };
  const Gradient whole = run(1);
  double size = 0;
  for (const auto& [name, values] : whole)
    for (const float g : values) size += static_cast<double>(g) * g;
  ASSERT_GT(size, 1e-2);
  for (const int64_t n : {2, 3, 5}) {
    Gradient cut = run(n);
    double error = 0;
    for (const auto& [name, values] : whole) {
      ASSERT_EQ(cut[name].size(), values.size());
      for (size_t i = 0; i < values.size(); ++i)
        error += std::pow(static_cast<double>(cut[name][i]) - static_cast<double>(values[i]), 2);
    }
    EXPECT_LT(std::sqrt(error / size), 1e-5) << n;
  }
}

// The whole of what minibatches do, on a batch that cannot be cut.
TEST(MiniBatches, ABatchOfOneGroupIsTrainedOnAsWithoutThemToTheBit) {
  const Needs needs{.old_logps = true, .reference_logps = true, .entropy = true};
  Rig plain(options_of(1, 3), needs), cut(options_of(4, 3), needs);
  for (uint64_t s = 0; s < 3; ++s) {
    TrainBatch batch = random_batch(tiny_spec(), {{6, {5, 9, 3, 1}}}, s);
    batch.sampling_logps.assign(static_cast<size_t>(batch.num_targets()), -1.0f);
    const auto expected = plain.learner->step(batch, {}), got = cut.learner->step(batch, {});
    ASSERT_TRUE(expected.ok() && got.ok());
    expect_same_metrics(*got, *expected);
  }
  EXPECT_EQ(state_hash(*cut.learner), state_hash(*plain.learner));
}

TEST(MiniBatches, OldLogpsAreThoseBeforeTheFirstUpdateInAllOfThem) {
  const Rig rig(options_of(3, 2), {.old_logps = true});
  TrainBatch batch = five_groups();
  const std::vector<float> before = rig.learner->logps(batch, {}).value();
  ASSERT_TRUE(rig.learner->step(batch, {}).ok());
  EXPECT_NE(rig.learner->logps(batch, {}).value(), before);
  ASSERT_EQ(rig.fake->seen_old.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    std::vector<float> expected;
    for (const int64_t name : rig.fake->seen_groups[i]) {
      const BatchGroup& g = batch.groups[static_cast<size_t>(name - 100)];
      expected.insert(expected.end(),
                      before.begin() + batch.rows[static_cast<size_t>(g.row_begin)].target_begin,
                      before.begin() + batch.rows[static_cast<size_t>(g.row_end - 1)].target_end);
    }
    const at::Tensor seen_N = rig.fake->seen_old[i].contiguous();
    const float* seen = seen_N.const_data_ptr<float>();
    EXPECT_EQ(std::vector<float>(seen, seen + seen_N.numel()), expected);
  }
}

TEST(MiniBatches, SavedAndLoadedTheRunGoesOnBitEqual) {
  const Needs needs{.old_logps = true, .reference_logps = true};
  const LearnerOptions options = options_of(2, 2);
  Rig straight(options, needs);
  std::vector<Metrics> expected;
  for (uint64_t s = 0; s < 5; ++s) expected.push_back(*straight.learner->step(five_groups(s), {}));
  Rig first(options, needs), second(options, needs);
  for (uint64_t s = 0; s < 2; ++s) ASSERT_TRUE(first.learner->step(five_groups(s), {}).ok());
  ASSERT_TRUE(second.learner->load(first.learner->save()).ok());
  for (uint64_t s = 2; s < 5; ++s)
    expect_same_metrics(*second.learner->step(five_groups(s), {}), expected[s]);
  EXPECT_EQ(state_hash(*second.learner), state_hash(*straight.learner));
}

TEST(MiniBatches, AStepThatIsCancelledInALaterOneChangesNothing) {
  Rig rig(options_of(3), {.old_logps = true});
  ASSERT_TRUE(rig.learner->step(five_groups(), {}).ok());
  const std::string before = state_hash(*rig.learner);
  std::stop_source stop;
  rig.fake->on_loss = [&](int call) {
    if (call == 5) stop.request_stop();  // the third minibatch of the second step
  };
  EXPECT_EQ(rig.learner->step(five_groups(2), stop.get_token()).status().code(), Code::kCancelled);
  EXPECT_EQ(rig.fake->loss_calls, 6);
  EXPECT_EQ(state_hash(*rig.learner), before);
}

TEST(MiniBatches, AStepThatTorchBreaksInALaterOneChangesNothing) {
  const Rig rig(options_of(3));
  const std::string before = state_hash(*rig.learner);
  rig.fake->on_loss = [](int call) { TORCH_CHECK(call < 2, "broken"); };
  EXPECT_EQ(rig.learner->step(five_groups(), {}).status().code(), Code::kInternal);
  EXPECT_EQ(rig.fake->loss_calls, 3);
  EXPECT_EQ(state_hash(*rig.learner), before);
}

TEST(MiniBatches, TheFirstStepsChecksSeeTheWholeBatchBeforeAnyUpdate) {
  const Rig rig(options_of(3), {.reference_logps = true}, 0.01f);
  const auto result = rig.learner->step(five_groups(), {});
  EXPECT_EQ(result.status().code(), Code::kDataLoss);
  EXPECT_NE(result.status().message().find("row 100, token 4"), std::string::npos)
      << result.status().message();
  EXPECT_EQ(rig.fake->loss_calls, 0);
}

TEST(MiniBatches, OneThatIsNotFiniteIsSkippedAndTheOthersTrain) {
  Rig rig(options_of(5));
  rig.fake->on_loss = [&](int call) {
    rig.fake->factor = call == 2 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
  };
  const auto metrics = rig.learner->step(five_groups(), {});
  ASSERT_TRUE(metrics.ok()) << metrics.status().message();
  EXPECT_EQ(metrics->at("guards/skipped_steps").mean(), 1);
  EXPECT_EQ(metrics->at("loss").count, 4);
}

TEST(MiniBatches, PairsAreNotCut) {
  auto fake = std::make_shared<Fake>();
  fake->needs = {.pairs = true};
  const auto made = Learner::create(start(), options_of(2), std::make_unique<FakeObjective>(fake), nullptr);
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  EXPECT_NE(made.status().message().find("num_mini_batches"), std::string::npos);
}

}  // namespace
}  // namespace fulcrum
