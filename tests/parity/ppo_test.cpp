// PPO and reward models as whole jobs: what they learn, what they leave behind, and that one feeds the other.
#include <gmock/gmock.h>

#include <cmath>

#include "reward/model/model_reward.h"
#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

using ::testing::HasSubstr;

double mean_of(const std::vector<Json>& metrics, const std::string& name, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += metrics[i].value(name, 0.0);
  return sum / static_cast<double>(end - begin);
}

// Every completion of the data that is rejected begins with 9, none that is chosen has one.
void write_pairs(const Path& file) {
  std::string rows;
  for (int64_t i = 0; i < 40; ++i) {
    const std::string plain = std::to_string(10 + i % 7) + std::to_string(i % 5);
    rows +=
        dump_json({{"prompt", std::to_string(i) + "="}, {"chosen", plain}, {"rejected", "9" + plain}}) + "\n";
  }
  ASSERT_TRUE(write_file_atomic(file, rows).ok());
}

// The folder of a reward model that was trained on write_pairs().
Path train_reward_model(const Lab& lab) {
  write_pairs(lab.path("pairs.jsonl"));
  const JobConfig job = lab.job("reward", {{"train_files", {lab.path("pairs.jsonl").string()}},
                                           {"prompts_per_step", 8},
                                           {"max_steps", 30},
                                           {"save_steps", 30}});
  lab.run_whole(job, "reward");
  return lab.checkpoint("reward", 30);
}

// The reward is 1 for a completion that begins with a digit above 4: about a third at random.
TEST(PpoRun, RaisesTheRewardWithEitherCritic) {
  for (const char* head : {"separate", "shared"}) {
    Lab lab;
    const JobConfig job =
        lab.job("ppo", {{"value_head", head},
                        {"value_learning_rate", 0.02},
                        {"reward_funcs", Json::array({{{"name", "regex"}, {"pattern", "^[5-9]"}}})},
                        {"max_completion_length", 4},
                        {"beta", 0.01},
                        {"num_generations", 2},
                        {"prompts_per_step", 8},
                        {"num_iterations", 2},
                        {"max_steps", 40},
                        {"save_steps", 0}});
    lab.run_whole(job, head);
    const std::vector<Json> metrics = lab.metrics(head);
    const double before = mean_of(metrics, "reward", 0, 5), after = mean_of(metrics, "reward", 35, 40);
    EXPECT_GT(after, before + 0.3) << head << ": from " << before;
    EXPECT_GT(mean_of(metrics, "objective/kl", 35, 40), mean_of(metrics, "objective/kl", 0, 2)) << head;
  }
}

TEST(PpoRun, WithoutBetaThereIsNoReference) {
  Lab lab;
  const Json keys = {{"ref_model", lab.path("there is none").string()}, {"max_steps", 2}};
  EXPECT_EQ(lab.run(lab.job("ppo", keys), "with").code(), Code::kNotFound);
  lab.run_whole(lab.job("ppo", {{"beta", 0}, {"max_steps", 2}}), "without");
  EXPECT_FALSE(lab.metrics("without").back().contains("objective/kl"));
}

TEST(PpoRun, TheCheckpointIsTheLanguageModelAndTheCriticIsInItsState) {
  Lab lab;
  lab.run_whole(lab.job("ppo", {{"max_steps", 2}}), "run");
  const auto model = load_model(lab.checkpoint("run", 2));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_FALSE(model->spec.score_head);
  EXPECT_THAT(lab.file("run", "checkpoints/checkpoint-2/fulcrum_state.safetensors"),
              HasSubstr("critic/param/score.weight"));
}

TEST(PpoRun, ACriticOfOtherTokensIsRefused) {
  Lab lab;
  ModelSpec spec = load_model(lab.path("model"))->spec;
  spec.vocab_size += 1;
  ASSERT_TRUE(make_folders(lab.path("wide")).ok());
  ASSERT_TRUE(write_model(lab.path("wide"), random_model(spec, 1), {}).ok());
  const Status status = lab.run(lab.job("ppo", {{"value_model", lab.path("wide").string()}}), "run");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("value_model"));
}

TEST(RewardModelRun, LearnsThePreferenceAndIsWrittenAsAScoreModel) {
  Lab lab;
  const Path folder = train_reward_model(lab);
  const std::vector<Json> metrics = lab.metrics("reward");
  EXPECT_NEAR(metrics.front()["loss"].get<double>(), std::log(2), 1e-6) << "all scores start at 0";
  EXPECT_GT(mean_of(metrics, "accuracy", 25, 30), 0.9);
  const auto model = load_model(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE(model->spec.score_head);
  EXPECT_THAT(lab.run(lab.job("grpo", {{"model_name_or_path", folder.string()}}), "grpo").message(),
              HasSubstr("reward model"));
}

TEST(RewardModelRun, JudgesCompletionsInAJobOfPpoWhoseCriticStartsFromIt) {
  Lab lab;
  const Path folder = train_reward_model(lab);
  const auto reward = make_model_reward({.name = "model", .path = folder.string()});
  ASSERT_TRUE(reward.ok()) << reward.status().message();
  const std::vector<RewardRequest> requests = {{.prompt = "3=", .completion = "12"},
                                               {.prompt = "3=", .completion = "912"},
                                               {.prompt = "4=", .completion = std::string_view()}};
  const std::vector<Verdict> verdicts = (*reward)->score(requests, Deadline::never(), {});
  ASSERT_EQ(verdicts.size(), 3U);
  for (const Verdict& v : verdicts) ASSERT_EQ(v.kind, VerdictKind::kScored) << v.reason;
  EXPECT_GT(*verdicts[0].score, *verdicts[1].score);
  const Json judge = Json::array({{{"name", "model"}, {"path", folder.string()}}});
  const JobConfig job = lab.job(
      "ppo", {{"reward_funcs", judge}, {"value_model", folder.string()}, {"max_steps", 2}, {"beta", 0.01}});
  lab.run_whole(job, "ppo");
  EXPECT_EQ(lab.metrics("ppo").back()["rewards/missing"].get<double>(), 0);
}

TEST(ModelReward, ACompletionBeyondItsContextHasNoScoreAndSaysWhy) {
  Lab lab;
  const Path folder = train_reward_model(lab);
  const auto reward = make_model_reward({.name = "model", .path = folder.string()});
  ASSERT_TRUE(reward.ok()) << reward.status().message();
  const std::string endless(200, '1');
  const std::vector<RewardRequest> requests = {{.prompt = "3=", .completion = endless},
                                               {.prompt = "3=", .completion = "12"}};
  const std::vector<Verdict> verdicts = (*reward)->score(requests, Deadline::never(), {});
  EXPECT_EQ(verdicts[0].kind, VerdictKind::kFailed);
  EXPECT_THAT(verdicts[0].reason, HasSubstr("tokens"));
  EXPECT_EQ(verdicts[1].kind, VerdictKind::kScored);
}

TEST(ModelReward, AModelThatGeneratesIsRefused) {
  Lab lab;
  const auto reward = make_model_reward({.name = "model", .path = lab.path("model").string()});
  EXPECT_EQ(reward.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(reward.status().message(), HasSubstr("trainer 'reward'"));
  EXPECT_EQ(make_model_reward({.name = "model"}).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum::testing
