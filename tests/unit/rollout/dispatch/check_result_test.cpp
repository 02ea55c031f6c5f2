#include "rollout/dispatch/check_result.h"

#include <functional>
#include <limits>

#include "tests/unit/rollout/dispatch/dispatch_testing.h"

namespace fulcrum {
namespace {

using testing::honest_result;
using testing::kVersion;
using testing::kVocabulary;
using testing::request_for;

Status check(const std::function<void(RolloutGroup&)>& spoil) {
  const RolloutRequest request = request_for(3);
  RolloutGroup group = honest_result(request);
  spoil(group);
  return check_result(request, kVersion, group, {.vocab_size = kVocabulary});
}

TEST(CheckResultTest, AnHonestResultIsBelieved) {
  EXPECT_TRUE(check([](RolloutGroup&) {}).ok());
  EXPECT_TRUE(check([](RolloutGroup& g) { g.completions[0].logps[0] = 9e-7f; }).ok()) << "rounding above 0";
  EXPECT_TRUE(check([](RolloutGroup& g) { g.completions[0].logps[0] = -1e30f; }).ok());
  EXPECT_TRUE(check([](RolloutGroup& g) { g.completions[0].finish = FinishReason::kLength; }).ok());
  EXPECT_TRUE(check([](RolloutGroup& g) {
                g.completions[1].ids = {0, 99, 5, 5};
                g.completions[1].logps = {-1, -2, -3, -4};
              }).ok());
}

TEST(CheckResultTest, EveryLieIsRefusedAndSaysWhat) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  struct Lie {
    const char* says;
    std::function<void(RolloutGroup&)> spoil;
  };
  const std::vector<Lie> lies = {
      {"drawn by weights 2.8, not 2.7", [](RolloutGroup& g) { ++g.version.step; }},
      {"drawn by weights 1.7, not 2.7", [](RolloutGroup& g) { --g.version.epoch; }},
      {"for prompt 4, not 3", [](RolloutGroup& g) { ++g.index; }},
      {"1 completions; 2", [](RolloutGroup& g) { g.completions.pop_back(); }},
      {"3 completions; 2", [](RolloutGroup& g) { g.completions.push_back(g.completions[0]); }},
      {"0 completions; 2", [](RolloutGroup& g) { g.completions.clear(); }},
      {"completion 1: it has 0 tokens", [](RolloutGroup& g) { g.completions[1].ids.clear(); }},
      {"it has 5 tokens; 1 to 4",
       [](RolloutGroup& g) { g.completions[0].ids.resize(5), g.completions[0].logps.resize(5); }},
      {"2 tokens and 1 log-probs", [](RolloutGroup& g) { g.completions[0].logps.pop_back(); }},
      {"2 tokens and 3 log-probs", [](RolloutGroup& g) { g.completions[0].logps.push_back(-1); }},
      {"token 100 at 1 is outside", [](RolloutGroup& g) { g.completions[0].ids[1] = kVocabulary; }},
      {"token -1 at 0 is outside", [](RolloutGroup& g) { g.completions[1].ids[0] = -1; }},
      {"the log-prob at 0 is nan", [](RolloutGroup& g) { g.completions[0].logps[0] = kNan; }},
      {"the log-prob at 1 is inf", [](RolloutGroup& g) { g.completions[0].logps[1] = kInf; }},
      {"the log-prob at 1 is -inf", [](RolloutGroup& g) { g.completions[0].logps[1] = -kInf; }},
      {"the log-prob at 1 is 0.00", [](RolloutGroup& g) { g.completions[0].logps[1] = 1e-3f; }},
      {"not finished", [](RolloutGroup& g) { g.completions[0].finish = FinishReason::kCancelled; }},
      {"not finished", [](RolloutGroup& g) { g.completions[0].finish = static_cast<FinishReason>(9); }},
      {"its text has 2049 bytes", [](RolloutGroup& g) { g.completions[0].text.assign(2049, 'x'); }},
  };
  for (const Lie& lie : lies) {
    const Status status = check(lie.spoil);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << lie.says;
    EXPECT_NE(status.message().find(lie.says), std::string::npos) << lie.says << " | " << status.message();
  }
}

}  // namespace
}  // namespace fulcrum
