#include "reward/pool.h"

#include <future>
#include <limits>
#include <stdexcept>

#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

// Does what the completion says.
class Puppet final : public RewardFunction {
 public:
  std::string_view name() const override { return "puppet"; }
  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline,
                             std::stop_token) const override {
    std::vector<Verdict> verdicts;
    for (const RewardRequest& r : requests) {
      if (r.completion == "throw") throw std::runtime_error("broken\x1b[2J");
      if (r.completion == "few") return verdicts;
      if (r.completion == "hang") {
        started.set_value();
        release.get_future().wait();
        finished.set_value();
      }
      const double score =
          r.completion == "nan" ? std::numeric_limits<double>::quiet_NaN() : r.completion.size();
      verdicts.push_back({.score = score + r.num_tokens, .kind = VerdictKind::kScored});
    }
    return verdicts;
  }
  mutable std::promise<void> started, release, finished;
};

RolloutGroup group(std::vector<std::string> texts) {
  RolloutGroup g;
  for (std::string& t : texts) g.completions.push_back({.ids = {1, 2}, .text = std::move(t)});
  return g;
}

TEST(RewardPool, KeepsTheOrderOfGroupsAndCompletions) {
  RewardPool pool(std::make_shared<Puppet>(), {.threads = 3});
  std::vector<RolloutGroup> groups;
  for (size_t i = 0; i < 50; ++i) groups.push_back(group({std::string(i, 'x'), std::string(2 * i, 'x')}));
  groups.push_back(group({}));
  const auto verdicts = pool.score(groups, {});
  ASSERT_TRUE(verdicts.ok());
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ((*verdicts)[i][0].score, i + 2.0);
    EXPECT_EQ((*verdicts)[i][1].score, 2 * i + 2.0);
  }
  EXPECT_TRUE((*verdicts)[50].empty());
}

TEST(RewardPool, ABrokenJudgeCostsItsGroupOnly) {
  RewardPool pool(std::make_shared<Puppet>());
  const std::vector<RolloutGroup> groups{group({"throw", "x"}), group({"x", "few"}), group({"nan", "x"}),
                                         group({"x"})};
  const auto verdicts = *pool.score(groups, {});
  EXPECT_EQ(verdicts[0][1].kind, VerdictKind::kFailed);
  EXPECT_EQ(verdicts[0][0].reason, "the reward threw: broken\\x1B[2J");
  EXPECT_EQ(verdicts[1][0].kind, VerdictKind::kFailed);
  EXPECT_EQ(verdicts[2][0].kind, VerdictKind::kFailed);
  EXPECT_FALSE(verdicts[2][0].score.has_value());
  EXPECT_EQ(verdicts[2][1].score, 3.0);
  EXPECT_EQ(verdicts[3][0].score, 3.0);
}

TEST(RewardPool, AJudgeThatHangsGivesTimeoutsAndDoesNotHoldTheCaller) {
  const auto puppet = std::make_shared<Puppet>();
  const auto begin = std::chrono::steady_clock::now();
  {
    RewardPool pool(
        puppet,
        {.threads = 1, .deadline = std::chrono::milliseconds(20), .slack = std::chrono::milliseconds(20)});
    const auto verdicts = *pool.score(std::vector<RolloutGroup>{group({"hang"}), group({"x"})}, {});
    EXPECT_EQ(verdicts[0][0].kind, VerdictKind::kTimeout);
    EXPECT_EQ(verdicts[1][0].kind, VerdictKind::kTimeout);
    EXPECT_FALSE(verdicts[0][0].score.has_value());
  }  // the pool goes although its thread hangs
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  puppet->release.set_value();
  puppet->finished.get_future().wait();
}

TEST(RewardPool, AStopRequestEndsTheWait) {
  const auto puppet = std::make_shared<Puppet>();
  RewardPool pool(puppet, {.threads = 1, .deadline = std::chrono::hours(1)});
  std::stop_source stop;
  const std::vector<RolloutGroup> groups{group({"hang"})};
  auto result = std::async(std::launch::async, [&] { return pool.score(groups, stop.get_token()); });
  puppet->started.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(result.get().status().code(), Code::kCancelled);
  puppet->release.set_value();
  puppet->finished.get_future().wait();
}

}  // namespace
}  // namespace fulcrum::testing
