#include "engine/pipeline/generation.h"

#include <gtest/gtest.h>

#include <atomic>

namespace fulcrum {
namespace {

JudgedStep marked(int64_t version) {
  JudgedStep s;
  s.generate_seconds = static_cast<double>(version);
  return s;
}

TEST(Generation, EachStepIsMadeByExactlyTheVersionItsStalenessSays) {
  for (const int64_t staleness : {0, 1, 3}) {
    std::vector<int64_t> versions;
    Generation g(
        [&](int64_t, int64_t version, std::stop_token) -> Result<JudgedStep> { return marked(version); }, 0,
        8, staleness);
    g.published(0);
    for (int64_t s = 0; s < 8; ++s) {
      versions.push_back(static_cast<int64_t>(g.take(s, {})->generate_seconds));
      g.published(s + 1);
    }
    for (int64_t s = 0; s < 8; ++s)
      EXPECT_EQ(versions[static_cast<size_t>(s)], std::max<int64_t>(0, s - staleness));
  }
}

TEST(Generation, NeverWorksFurtherAheadThanTheStaleness) {
  std::atomic<int64_t> last = -1;
  Generation g(
      [&](int64_t step, int64_t, std::stop_token) -> Result<JudgedStep> {
        last = step;
        return marked(0);
      },
      0, 100, 2);
  g.published(0);
  ASSERT_TRUE(g.take(0, {}).ok());
  ASSERT_TRUE(g.take(1, {}).ok());
  ASSERT_TRUE(g.take(2, {}).ok());
  EXPECT_EQ(last, 2);  // step 3 needs version 1, which was not published
}

TEST(Generation, AStopRequestEndsTheWaitAndAnErrorReachesTheTaker) {
  Generation waiting([](int64_t, int64_t, std::stop_token) -> Result<JudgedStep> { return marked(0); }, 0, 3,
                     1);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(waiting.take(0, stop.get_token()).status().code(), Code::kCancelled);
  Generation failing(
      [](int64_t, int64_t, std::stop_token) -> Result<JudgedStep> { return unavailable("no one"); }, 0, 3, 1);
  failing.published(0);
  EXPECT_EQ(failing.take(0, {}).status().message(), "no one");
}

}  // namespace
}  // namespace fulcrum
