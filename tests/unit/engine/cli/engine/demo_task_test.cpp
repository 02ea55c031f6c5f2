#include "engine/cli/engine/demo_task.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/core/text.h"
#include "reward/make_rewards.h"

namespace fulcrum::cli {
namespace {

constexpr int64_t kWarmUp = 4000, kTrain = 512, kTest = 200;

// The value of "60+5" or "65", read without the code under test.
int64_t value_of(const std::string& sum) {
  int64_t total = 0;
  for (const std::string& part : split(sum, '+')) total += std::stoll(part);
  return total;
}

std::string text(const Json& row, const char* key) { return row[key].get<std::string>(); }

// The prompt without its "=".
std::string question(const Json& row) {
  const std::string prompt = text(row, "prompt");
  return prompt.substr(0, prompt.size() - 1);
}

std::set<std::string> prompts(const std::vector<Json>& rows) {
  std::set<std::string> out;
  for (const Json& row : rows) out.insert(text(row, "prompt"));
  return out;
}

class DemoTaskTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  // What the demo's pattern says of a text.
  bool looks_like_an_answer(const std::string& completion) const {
    const RewardRequest request{.completion = completion};
    const Verdict v = pattern_->score(std::span(&request, 1), Deadline::never(), {}).front();
    return v.score == 1.0;
  }
  const DemoTask task_ = make_demo_task(GetParam(), kWarmUp, kTrain, kTest);
  const std::unique_ptr<RewardFunction> pattern_ =
      make_reward({.name = "regex", .pattern = kDemoAnswerPattern}).value();
};

TEST_P(DemoTaskTest, EveryWarmUpAnswerMatchesThePatternAndEqualsTheSum) {
  ASSERT_EQ(task_.warm_up.size(), static_cast<size_t>(kWarmUp));
  std::set<size_t> forms;
  for (const Json& row : task_.warm_up) {
    const std::string answer = text(row, "completion");
    EXPECT_TRUE(looks_like_an_answer(answer)) << row;
    EXPECT_EQ(value_of(answer), value_of(question(row))) << row;
    forms.insert(split(answer, '+').size());
  }
  EXPECT_EQ(forms, (std::set<size_t>{1, 2}));  // the policy begins with several modes
}

TEST_P(DemoTaskTest, SolutionsAreTheSums) {
  for (const auto* rows : {&task_.train, &task_.test}) {
    for (const Json& row : *rows) EXPECT_EQ(text(row, "solution"), std::to_string(value_of(question(row))));
  }
}

TEST_P(DemoTaskTest, TrainTestAndWarmUpShareNoProblem) {
  const auto train = prompts(task_.train), test = prompts(task_.test), warm_up = prompts(task_.warm_up);
  EXPECT_EQ(train.size(), static_cast<size_t>(kTrain));
  EXPECT_EQ(test.size(), static_cast<size_t>(kTest));
  EXPECT_EQ(warm_up.size(), static_cast<size_t>(kWarmUp));
  std::set<std::string> all = train;
  all.insert(test.begin(), test.end());
  all.insert(warm_up.begin(), warm_up.end());
  EXPECT_EQ(all.size(), train.size() + test.size() + warm_up.size());
}

TEST_P(DemoTaskTest, CopyingTheQuestionNeverLooksLikeAnAnswer) {
  for (const auto* rows : {&task_.train, &task_.test, &task_.warm_up}) {
    for (const Json& row : *rows) {
      EXPECT_FALSE(looks_like_an_answer(question(row))) << row;
      EXPECT_FALSE(looks_like_an_answer(text(row, "prompt"))) << row;
    }
  }
}

TEST_P(DemoTaskTest, UsesOnlyItsAlphabet) {
  for (const auto* rows : {&task_.train, &task_.test, &task_.warm_up}) {
    for (const Json& row : *rows) {
      for (const char* key : {"prompt", "completion", "solution"}) {
        if (row.contains(key)) {
          EXPECT_EQ(text(row, key).find_first_not_of(task_.characters), std::string::npos);
        }
      }
    }
  }
}

TEST_P(DemoTaskTest, IsAFunctionOfTheSeed) {
  const DemoTask again = make_demo_task(GetParam(), kWarmUp, kTrain, kTest);
  EXPECT_EQ(again.warm_up, task_.warm_up);
  EXPECT_EQ(again.train, task_.train);
  EXPECT_EQ(again.test, task_.test);
  EXPECT_NE(make_demo_task(GetParam() + 1, kWarmUp, kTrain, kTest).test, task_.test);
}

INSTANTIATE_TEST_SUITE_P(Seeds, DemoTaskTest, ::testing::Values(0, 1, 17));

}  // namespace
}  // namespace fulcrum::cli
