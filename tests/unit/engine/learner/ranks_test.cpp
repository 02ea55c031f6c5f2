// The learner on several ranks: threads of this test, over Gloo.
#include <gmock/gmock.h>

#include <limits>
#include <mutex>

#include "engine/learner/leading_learner.h"
#include "tests/unit/engine/learner/trained_on_ranks.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Group = std::shared_ptr<Collective>;

TEST(LearnerOnRanks, GivesTheLossAndTheGradientOfOneProcessTo1e6) {
  for (const int64_t ranks : {2, 3}) {
    for (const int64_t limit : {1 << 20, 17}) {
      LearnerOptions options = fast_options();
      options.config.max_tokens_per_micro_batch = limit;
      const Trained alone = train(options, {}, nullptr, 1);
      for (const Trained& rank : train_on_ranks(ranks, options, {}, 1)) {
        // After one step the first moment is a tenth of the gradient.
        EXPECT_LT(relative_error(numbers_of(rank.state, "exp_avg/"), numbers_of(alone.state, "exp_avg/")),
                  1e-6);
        const double want = alone.metrics.at("loss").mean();
        EXPECT_NEAR(rank.metrics.at("loss").mean(), want, 1e-6 * std::abs(want));
      }
    }
  }
}

TEST(LearnerOnRanks, EveryRankHasTheSameBitsAfterStepsOfManyUpdates) {
  for (const int64_t mini_batches : {1, 2}) {
    LearnerOptions options = fast_options();
    options.num_iterations = 2;
    options.num_mini_batches = mini_batches;
    options.config.max_grad_norm = 0.1;
    const Needs needs{.old_logps = true, .policy_logps = true, .reference_logps = true};
    const Trained alone = train(options, needs, nullptr, 3);
    const std::vector<Trained> ranks = train_on_ranks(2, options, needs, 3);
    EXPECT_EQ(content_hash(ranks[0].state.tensors), content_hash(ranks[1].state.tensors));
    EXPECT_EQ(ranks[0].state.host, ranks[1].state.host);
    expect_same_metrics(ranks[0].metrics, ranks[1].metrics);
    EXPECT_LT(relative_error(numbers_of(ranks[0].state, "param/"), numbers_of(alone.state, "param/")), 1e-6);
    EXPECT_EQ(ranks[0].metrics.size(), alone.metrics.size());
    for (const auto& [name, m] : alone.metrics) {
      if (name.starts_with("timing_s/")) continue;
      EXPECT_NEAR(ranks[0].metrics.at(name).mean(), m.mean(), 1e-5 * std::abs(m.mean()) + 1e-6) << name;
    }
  }
}

TEST(LearnerOnRanks, LogpsAndAnEvaluationAreThoseOfOneProcess) {
  Rig alone;
  const std::vector<float> want = alone.learner->logps(batch_of(3), {}).value();
  const double loss = alone.learner->evaluate(batch_of(3), {}).value().at("loss").mean();
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    Rig rig(options);
    const auto logps = rig.learner->logps(batch_of(3), {});
    ASSERT_TRUE(logps.ok()) << logps.status().message();
    EXPECT_LT(relative_error(*logps, want), 1e-6);
    const auto measured = rig.learner->evaluate(batch_of(3), {});
    ASSERT_TRUE(measured.ok()) << measured.status().message();
    EXPECT_NEAR(measured->at("loss").mean(), loss, 1e-6);
  });
}

TEST(LearnerOnRanks, AFaultOfOneRankIsAFaultOfAllAndTheNextStepIsDone) {
  for (const int64_t faulty : {0, 1}) {
    on_ranks(2, [&](const Group& group) {
      LearnerOptions options = fast_options();
      options.group = group;
      Rig rig(options);
      const std::string before = state_hash(*rig.learner);
      const bool mine = group->rank() == faulty;
      rig.fake->on_loss = [&](int) {
        if (mine) throw std::runtime_error("no memory");
      };
      const Status status = rig.learner->step(batch_of(1), {}).status();
      EXPECT_EQ(status.code(), Code::kInternal);
      const std::string named = faulty == 0 ? "learner step" : "rank 1: learner step";
      EXPECT_THAT(status.message(), StartsWith(named));
      EXPECT_EQ(state_hash(*rig.learner), before);
      rig.fake->on_loss = [](int) {};
      rig.step(1);
      EXPECT_NE(state_hash(*rig.learner), before);
    });
  }
}

TEST(LearnerOnRanks, AShareThatIsNotFiniteSkipsTheStepOnAllAndTheThirdInARowStopsThemAlike) {
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    Rig rig(options);
    const std::string before = content_hash(rig.learner->save().tensors);
    if (group->rank() == 1) rig.fake->factor = std::numeric_limits<float>::quiet_NaN();
    for (int s = 0; s < 2; ++s) {
      const auto skipped = rig.learner->step(batch_of(1), {});
      ASSERT_TRUE(skipped.ok()) << skipped.status().message();
      EXPECT_EQ(skipped->at("guards/skipped_steps").sum, s + 1);
    }
    const Status third = rig.learner->step(batch_of(1), {}).status();
    EXPECT_EQ(third.code(), Code::kDataLoss);
    EXPECT_THAT(third.message(), HasSubstr("max_skipped_steps"));
    EXPECT_EQ(content_hash(rig.learner->save().tensors), before);
    rig.fake->factor = 1;
    rig.step(1);
  });
}

// The loss is finite, the squares of its gradient are not: that is seen when all are agreed.
TEST(LearnerOnRanks, AGradientThatIsNotFiniteSkipsTheStepOnAllAndTheThirdInARowStopsThemAlike) {
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    Rig rig(options);
    const std::string before = content_hash(rig.learner->save().tensors);
    if (group->rank() == 1) rig.fake->factor = 1e30f;
    for (int s = 0; s < 2; ++s) EXPECT_EQ(rig.step(1).at("guards/skipped_steps").sum, s + 1);
    const Status third = rig.learner->step(batch_of(1), {}).status();
    EXPECT_EQ(third.code(), Code::kDataLoss);
    EXPECT_THAT(third.message(), HasSubstr("the gradient is not finite; 3 such steps in a row"));
    EXPECT_EQ(content_hash(rig.learner->save().tensors), before);
    rig.fake->factor = 1;
    rig.step(1);
  });
}

TEST(LearnerOnRanks, AStopRequestOnOneRankStopsTheStepOnAll) {
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    Rig rig(options);
    std::stop_source stop;
    if (group->rank() == 1) stop.request_stop();
    EXPECT_EQ(rig.learner->step(batch_of(1), stop.get_token()).status().code(), Code::kCancelled);
    rig.step(1);
  });
}

// A reference that cannot follow, when the ranks have already stepped.
class StuckReference final : public FakeReference {
 public:
  using FakeReference::FakeReference;
  Status after_step(int64_t, const Policy&) override { return resource_exhausted("out of memory"); }
};

TEST(LearnerOnRanks, ARankThatFailsWhereTheOthersAreDoneLeavesAndIsNamed) {
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    auto fake = std::make_shared<Fake>();
    fake->needs.reference_logps = true;
    std::unique_ptr<Reference> reference = std::make_unique<FakeReference>(start(), 0.f);
    if (group->rank() == 1) reference = std::make_unique<StuckReference>(start(), 0.f);
    // Moves without a measurement, which would be done together.
    auto learner =
        Learner::create(start(), options, std::make_unique<FakeObjective>(fake), std::move(reference));
    ASSERT_TRUE(learner.ok()) << learner.status().message();
    const Status status = (*learner)->step(batch_of(1), {}).status();
    const bool stuck = group->rank() == 1;
    EXPECT_EQ(status.code(), stuck ? Code::kResourceExhausted : Code::kUnavailable) << status.message();
    EXPECT_THAT(status.message(), StartsWith(stuck ? "out of memory" : "rank 1 of 2 ended"));
  });
}

TEST(LearnerOnRanks, WeightsThatDifferStopTheRun) {
  on_ranks(2, [&](const Group& group) {
    LearnerOptions options = fast_options();
    options.group = group;
    options.config.learning_rate = group->rank() == 0 ? 0.01 : 0.1;
    Rig rig(options);
    rig.step(0);
    const Status status = rig.learner->step(batch_of(1), {}).status();
    EXPECT_EQ(status.code(), Code::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("rank 1 has other weights than rank 0"));
  });
}

// Rank 0 with a leading learner; the others do as they are told until the end.
void follow_until_the_end(Learner& mine, const Group& group) {
  while (true) {
    const Result<Json> message = hear_command(*group);
    ASSERT_TRUE(message.ok()) << message.status().message();
    const std::string what = message->value("do", "");
    if (what == command::kEnd) break;
    if (what == command::kIdle || what == command::kForget) continue;
    const Status status = follow_command(mine, *group, *message, {});
    ASSERT_TRUE(status.ok()) << status.message();
  }
}

TEST(LearnerOnRanks, FollowsEveryCallOfRank0AndWaitsBeyondTheDeadlineBetweenThem) {
  Trained alone = train(fast_options(), {}, nullptr, 2);
  std::mutex mutex;
  std::vector<std::string> states(2);
  on_ranks(
      2,
      [&](const Group& group) {
        LearnerOptions options = fast_options();
        options.group = group;
        Rig rig(options);
        Learner& inner = *rig.learner;
        if (group->rank() == 0) {
          auto leader = std::make_shared<Leader>(group, std::chrono::milliseconds(100));
          LeadingLearner learner(std::move(rig.learner), leader);
          ASSERT_TRUE(learner.load(alone.state).ok());
          std::mutex never;
          std::unique_lock lock(never);
          std::condition_variable nobody;
          nobody.wait_for(lock, std::chrono::seconds(3));  // what rank 0 does on its own takes its time
          learner.put_objective_values("lambda", {1.5, -2});
          ASSERT_TRUE(learner.step(batch_of(7), {}).ok());
          ASSERT_TRUE(learner.evaluate(batch_of(8), {}).ok());
          ASSERT_TRUE(learner.logps(batch_of(9), {}).ok());
          const std::lock_guard guard(mutex);
          states[0] = state_hash(inner);
          leader->end(0);
          return;
        }
        follow_until_the_end(inner, group);
        const std::lock_guard guard(mutex);
        states[1] = state_hash(inner);
      },
      std::chrono::seconds(2));
  EXPECT_FALSE(states[0].empty());
  EXPECT_EQ(states[0], states[1]);
  EXPECT_THAT(states[0], HasSubstr("lambda"));
}

}  // namespace
}  // namespace fulcrum
