// Which keys of the online trainers need each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/pipeline/config/job_config.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

Status check(const Json& keys) {
  Json job = {{"trainer", "grpo"},
              {"model_name_or_path", "/model"},
              {"train_files", {"/train.jsonl"}},
              {"reward_funcs", {{{"name", "math"}}}}};
  job.update(keys);
  return parse_job(dump_json(job), {}).status();
}

TEST(OnlineKeys, AGroupOfOneIsRefusedExceptWhereTheBaselineIsTheWholeSteps) {
  EXPECT_THAT(check({{"num_generations", 1}}).message(), HasSubstr("a group of one has no baseline"));
  EXPECT_TRUE(check({{"num_generations", 1}, {"trainer", "reinforce_pp"}}).ok());
  EXPECT_FALSE(check({{"num_generations", 1}, {"trainer", "rloo"}}).ok());
}

TEST(OnlineKeys, DynamicSamplingNeedsCompletionsToCompare) {
  EXPECT_TRUE(check({{"dynamic_sampling", "correct"}}).ok());
  EXPECT_THAT(
      check({{"dynamic_sampling", "correct"}, {"num_generations", 1}, {"trainer", "reinforce_pp"}}).message(),
      HasSubstr("compares the completions of a prompt"));
}

TEST(OnlineKeys, EveryScaleOfRewardsThatTheConfigOffersIsRead) {
  for (const char* name :
       {"group", "batch", "none", "paper_population", "verl", "verl_vectorized", "openrlhf", "oat"})
    EXPECT_TRUE(check({{"scale_rewards", name}}).ok()) << name;
  EXPECT_FALSE(check({{"scale_rewards", "trl"}}).ok());
}

TEST(OnlineKeys, AKlHorizonThatCouldTurnBetaNegativeIsRefusedWithTheJob) {
  const auto with_horizon = [](double horizon) {
    return check({{"trainer", "ppo"},
                  {"kl_target", 6},
                  {"kl_horizon", horizon},
                  {"prompts_per_step", 8},
                  {"num_generations", 4}});
  };
  EXPECT_THAT(with_horizon(6.4).message(),
              HasSubstr("'kl_horizon' must be above a fifth of a step's 32 completions"));
  EXPECT_EQ(with_horizon(6.4).code(), Code::kInvalidArgument);
  EXPECT_TRUE(with_horizon(6.5).ok()) << with_horizon(6.5).message();
}

TEST(OnlineKeys, AMinibatchHasAtLeastOnePrompt) {
  EXPECT_TRUE(check({{"prompts_per_step", 4}, {"num_mini_batches", 4}}).ok());
  EXPECT_THAT(check({{"prompts_per_step", 4}, {"num_mini_batches", 5}}).message(),
              HasSubstr("'num_mini_batches' is above 'prompts_per_step'"));
}

TEST(OnlineKeys, EvaluationHasEnoughSamplesForEachKAndEachKOnce) {
  const auto evaluating = [](int64_t samples, const std::vector<int64_t>& k) {
    return check(
        {{"eval_steps", 1}, {"val_files", {"/val.jsonl"}}, {"eval_num_generations", samples}, {"eval_k", k}});
  };
  EXPECT_TRUE(evaluating(4, {4, 1}).ok()) << evaluating(4, {4, 1}).message();
  EXPECT_EQ(evaluating(2, {1, 4}).message(), "'eval_k' has 4 but 'eval_num_generations' is 2");
  EXPECT_EQ(evaluating(2, {1, 2, 1}).message(), "'eval_k' has 1 twice: leave one out");
}

}  // namespace
}  // namespace fulcrum
