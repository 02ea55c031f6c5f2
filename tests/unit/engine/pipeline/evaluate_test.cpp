#include "engine/pipeline/evaluate.h"

#include <gtest/gtest.h>

#include "reward/make_rewards.h"

namespace fulcrum {
namespace {

// Answers every request with the same texts.
class Parrot final : public RolloutClient {
 public:
  explicit Parrot(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token) override {
    std::vector<RolloutGroup> out;
    for (const RolloutRequest& r : requests) {
      RolloutGroup group{.index = r.index, .prompt = r.prompt, .completions = {}, .version = version};
      for (const std::string& text : texts_)
        group.completions.push_back({.ids = {1}, .logps = {0}, .text = text});
      out.push_back(std::move(group));
    }
    return out;
  }

 private:
  std::vector<std::string> texts_;
};

// maj@k of the texts as attempts at a problem whose solution is 4.
double majority(const std::vector<RewardConfig>& rewards, const std::vector<std::string>& texts) {
  Parrot rollouts(texts);
  RewardPool pool(make_rewards(rewards, nullptr).value());
  Prompt prompt;
  prompt.columns = {{"solution", "4"}};
  const auto n = static_cast<int64_t>(texts.size());
  const EvalPlan plan{.num_generations = n, .k = {n}, .sampling = {}, .answer = answer_of(rewards)};
  const auto report = evaluate(rollouts, pool, std::span(&prompt, 1), {}, plan, {});
  EXPECT_TRUE(report.ok()) << report.status().message();
  return report.ok() ? report->at_k.front().majority->mean : -1;
}

TEST(Evaluate, AttemptsVoteByTheirAnswersNotByTheirTexts) {
  for (const char* reward : {"math", "numeric"}) {
    EXPECT_EQ(majority({{.name = reward}}, {"two fives: $10$", "so $4$", "it is $4$", "well, $4$"}), 1.0);
    EXPECT_EQ(majority({{.name = reward}}, {"it is $4$", "I say $5$", "five, $5$", "no: $5$"}), 0.0);
  }
}

TEST(Evaluate, CorrectAttemptsVoteTogetherHoweverTheyWriteTheAnswer) {
  EXPECT_EQ(majority({{.name = "math"}}, {"$7$", "$7$", "$\\frac{8}{2}$", "$4$", "$2+2$"}), 1.0);
}

TEST(Evaluate, WithoutAJudgeThatLooksForAnAnswerWholeTextsVote) {
  const std::vector<RewardConfig> regex = {{.name = "regex", .pattern = "^[ab]$"}};
  EXPECT_EQ(majority(regex, {"c", "c", "a"}), 0.0);
  EXPECT_EQ(majority(regex, {"c", "d", "a", "b"}), 1.0);
}

}  // namespace
}  // namespace fulcrum
