// A run that was stopped and run again gives the bits of the run that was not: every metric of every step,
// and every bit of the last checkpoint.
#include <filesystem>

#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

struct Case {
  std::string name, trainer;
  Json keys = Json::object();
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Half of the random model's samples hold a digit above 4 before the first 1, 2 or 3: some prompts count as
// mastered, others do not.
const Json kDphKeys = {{"reward_funcs", {{{"name", "regex"}, {"pattern", "[5-9]"}}}},
                       {"stop", {"1", "2", "3"}},
                       {"presample", {{"k", 4}, {"threshold", 2}, {"rehearsal_per_step", 3}}}};

// A constraint to be fitted and one that filters; both are met by some of the random model's samples.
const Json kFDpgKeys = {
    {"reward_funcs", {{{"name", "regex"}, {"pattern", "^[5-9]"}}, {{"name", "regex"}, {"pattern", "^[^+]"}}}},
    {"f_dpg",
     {{"constraints", {{{"feature", "regex"}, {"moment", 0.7}}, {{"feature", "regex_2"}, {"moment", 1}}}},
      {"fit_samples", 200}}}};

const Json kEvaluation = {{"eval_steps", 2}, {"eval_num_generations", 2}, {"eval_k", {1, 2}}};

const Json kLength = {{"reward_funcs", {{{"name", "length"}, {"target", 4}}}}};

Json with(Json keys, const Json& more) {
  keys.update(more);
  return keys;
}

std::vector<Case> cases() {
  return {
      {"Sft", "sft", {{"lr_scheduler_type", "cosine"}, {"warmup_steps", 2}, {"weight_decay", 0.1}}},
      {"SftBf16", "sft", {{"dtype", "bfloat16"}, {"gradient_checkpointing", true}}},
      {"SftEvaluated", "sft", {{"eval_steps", 2}}},
      {"Dpo", "dpo", {{"beta", 0.2}}},
      {"DpoEvaluated", "dpo", {{"eval_steps", 3}, {"max_tokens_per_micro_batch", 30}}},
      {"DpoPrecomputed", "dpo", {{"precompute_ref_log_probs", true}, {"eval_steps", 3}}},
      {"Tdpo", "tdpo", {{"eval_steps", 3}, {"max_tokens_per_micro_batch", 30}}},
      {"Grpo", "grpo"},
      {"GrpoEvaluated", "grpo", kEvaluation},
      {"GrpoTwoIterations", "grpo", {{"num_iterations", 2}, {"max_tokens_per_micro_batch", 60}}},
      {"GrpoFrozenReference", "grpo", {{"beta", 0.1}}},
      {"GrpoMovingReference", "grpo", {{"beta", 0.1}, {"sync_ref_model", true}, {"ref_model_sync_steps", 2}}},
      {"GrpoMovingReferenceTwoIterations",
       "grpo",
       {{"beta", 0.1}, {"sync_ref_model", true}, {"ref_model_sync_steps", 1}, {"num_iterations", 2}}},
      {"GrpoBemaReference",
       "grpo",
       {{"beta", 0.1}, {"bema", {{"update_ref_model", true}, {"update_freq", 2}}}, {"num_iterations", 2}}},
      {"GrpoMiniBatches",
       "grpo",
       {{"num_mini_batches", 2}, {"num_iterations", 2}, {"beta", 0.1}, {"max_tokens_per_micro_batch", 60}}},
      {"PpoMiniBatches", "ppo", {{"num_mini_batches", 2}, {"num_iterations", 2}}},
      {"DphRlMiniBatches", "dph_rl", with(kDphKeys, {{"num_mini_batches", 2}, {"num_iterations", 2}})},
      {"Staleness1FDpgMiniBatches", "f_dpg",
       with(kFDpgKeys, {{"max_staleness", 1}, {"num_mini_batches", 2}})},
      {"PpoSeparateCritic", "ppo", {{"num_iterations", 2}, {"value_learning_rate", 0.02}}},
      {"PpoSharedCriticAdaptiveKl",
       "ppo",
       {{"value_head", "shared"},
        {"kl_target", 0.1},
        {"kl_horizon", 50},
        {"max_tokens_per_micro_batch", 60}}},
      {"PpoKlInLossMovingReference",
       "ppo",
       {{"kl_in", "loss"}, {"sync_ref_model", true}, {"ref_model_sync_steps", 2}, {"num_generations", 1}}},
      {"Reward", "reward", {{"center_rewards_coefficient", 0.01}, {"eval_steps", 3}}},
      {"DphRl", "dph_rl", kDphKeys},
      {"DphRlEvaluated", "dph_rl", with(kDphKeys, kEvaluation)},
      {"FDpg", "f_dpg", kFDpgKeys},
      {"FDpgTwoIterations", "f_dpg",
       with(kFDpgKeys, {{"num_iterations", 2}, {"max_tokens_per_micro_batch", 60}})},
      {"Staleness2FDpg", "f_dpg", with(kFDpgKeys, {{"max_staleness", 2}})},
      {"Staleness1", "grpo", {{"max_staleness", 1}}},
      {"Staleness2", "grpo", {{"max_staleness", 2}}},
      {"Staleness8", "grpo", {{"max_staleness", 8}}},
      {"Staleness2Evaluated", "grpo", with(kEvaluation, {{"max_staleness", 2}, {"num_iterations", 2}})},
      {"GrpoDynamicSampling", "grpo", {{"dynamic_sampling", "reward"}, {"num_generations", 2}}},
      {"GrpoDynamicSamplingStaleness1",
       "grpo",
       {{"dynamic_sampling", "reward"}, {"num_generations", 2}, {"max_staleness", 1}}},
      {"GrpoCorrected",
       "grpo",
       {{"max_staleness", 2},
        {"importance_sampling_correction", true},
        {"importance_sampling_mode", "token_truncate"},
        {"importance_sampling_normalize", true}}},
      {"Rloo", "rloo", with(kLength, {{"num_iterations", 2}})},
      {"ReinforcePp", "reinforce_pp", with(kLength, {{"num_generations", 1}})},
      {"ReinforcePpBaseline", "reinforce_pp_baseline",
       with(kLength, {{"beta", 0.1}, {"kl_estimator", "k2"}})},
      {"Staleness1DphRl", "dph_rl", with(kDphKeys, {{"max_staleness", 1}})},
  };
}

class Resume : public ::testing::TestWithParam<Case> {
 protected:
  JobConfig job() const { return lab_.job(GetParam().trainer, GetParam().keys); }
  Lab lab_;
};

TEST_P(Resume, StoppedAfterEveryStepGoesOnWithTheSameBits) {
  lab_.run_whole(job(), "straight");
  for (int64_t step = 1; step < 6; ++step) {
    const Status reason = step % 2 == 0 ? cancelled("enough") : unavailable("the service stops");
    ASSERT_EQ(lab_.run(job(), "often", {.stop_after = step, .reason = reason}).code(), reason.code());
    EXPECT_EQ(lab_.metrics("often").size(), static_cast<size_t>(step));
    EXPECT_TRUE(std::filesystem::exists(lab_.checkpoint("often", step))) << "a stop keeps what was done";
  }
  lab_.run_whole(job(), "often");
  lab_.expect_same_runs(job(), "straight", "often");
}

// What a kill leaves: the steps after the last regular checkpoint are done again.
TEST_P(Resume, AfterALossOfStepsDoesThemAgainWithTheSameBits) {
  lab_.run_whole(job(), "straight");
  ASSERT_EQ(lab_.run(job(), "killed", {.stop_after = 3}).code(), Code::kUnavailable);
  std::filesystem::remove_all(lab_.checkpoint("killed", 3));
  lab_.run_whole(job(), "killed");
  lab_.expect_same_runs(job(), "straight", "killed");
}

INSTANTIATE_TEST_SUITE_P(Job, Resume, ::testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.name; });

TEST(ResumeSoup, AReferenceMadeOfSeveralModelsIsMadeAgain) {
  Lab lab;
  const JobConfig job =
      lab.job("grpo", {{"beta", 0.1},
                       {"ref_soup", {lab.path("model").string(), lab.path("other").string()}},
                       {"ref_soup_weights", {2, 1}}});
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "stopped", {.stop_after = 3}).code(), Code::kUnavailable);
  lab.run_whole(job, "stopped");
  lab.expect_same_runs(job, "straight", "stopped");
}

TEST(ResumePresample, AStopInTheStageKeepsWhatWasSampled) {
  Lab lab;
  const JobConfig job = lab.job("dph_rl", kDphKeys);
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "stopped", {.stop_in_stage = true}).code(), Code::kUnavailable);
  const std::string part = lab.file("stopped", "presample.jsonl");
  EXPECT_EQ(std::count(part.begin(), part.end(), '\n'), 1 + 64) << "what it was made with, and 64 prompts";
  lab.run_whole(job, "stopped");
  lab.expect_same_runs(job, "straight", "stopped");
  EXPECT_EQ(lab.file("stopped", "presample.jsonl"), lab.file("straight", "presample.jsonl"));
}

TEST(ResumePresample, APortionThatWasCutShortIsSampledAgainWhole) {
  Lab lab;
  const JobConfig job = lab.job("dph_rl", kDphKeys);
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "cut", {.stop_in_stage = true}).code(), Code::kUnavailable);
  const std::string part = lab.file("cut", "presample.jsonl");
  size_t end = 0;
  for (int line = 0; line < 37; ++line) end = part.find('\n', end) + 1;
  ASSERT_TRUE(write_file_atomic(lab.path("cut") / "presample.jsonl", part.substr(0, end + 9)).ok());
  lab.run_whole(job, "cut");
  lab.expect_same_runs(job, "straight", "cut");
  EXPECT_EQ(lab.file("cut", "presample.jsonl"), lab.file("straight", "presample.jsonl"));
}

TEST(ResumeFitTarget, AStopInTheStageIsDoneAgainWithTheSameNumbers) {
  Lab lab;
  const JobConfig job = lab.job("f_dpg", kFDpgKeys);
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "stopped", {.stop_in_stage = true}).code(), Code::kUnavailable);
  EXPECT_FALSE(std::filesystem::exists(lab.path("stopped") / "target.json"));
  lab.run_whole(job, "stopped");
  lab.expect_same_runs(job, "straight", "stopped");
  EXPECT_EQ(lab.file("stopped", "target.json"), lab.file("straight", "target.json"));
}

TEST(ResumeFitTarget, WithoutItsFitAStartedJobDoesNotGoOn) {
  Lab lab;
  const JobConfig job = lab.job("f_dpg", kFDpgKeys);
  ASSERT_EQ(lab.run(job, "run", {.stop_after = 2}).code(), Code::kUnavailable);
  ASSERT_TRUE(write_file_atomic(lab.path("run") / "target.json", "{\"features\": [\"regex\"]}").ok());
  EXPECT_NE(lab.run(job, "run").message().find("is not the fit of this job's constraints"),
            std::string::npos);
  std::filesystem::remove(lab.path("run") / "target.json");
  EXPECT_NE(lab.run(job, "run").message().find("its lambda is lost"), std::string::npos);
}

// The paths are the same, and so are the job's keys: what stands at them is not.
TEST(ResumePresample, SamplesOfAnotherModelOrOtherDataAreNotGoneOnWith) {
  Lab lab;
  const JobConfig job = lab.job("dph_rl", kDphKeys);
  ASSERT_EQ(lab.run(job, "run", {.stop_in_stage = true}).code(), Code::kUnavailable);
  const Path weights = lab.path("model") / "model.safetensors", data = lab.path("train.jsonl");
  const std::string model = read_file(weights).value(), rows = read_file(data).value();
  ASSERT_TRUE(write_file_atomic(weights, read_file(lab.path("other") / "model.safetensors").value()).ok());
  const Status other_model = lab.run(job, "run");
  EXPECT_EQ(other_model.code(), Code::kFailedPrecondition);
  EXPECT_NE(other_model.message().find("made with another 'model'"), std::string::npos)
      << other_model.message();
  ASSERT_TRUE(write_file_atomic(weights, model).ok());
  ASSERT_TRUE(write_file_atomic(data, rows.substr(rows.find('\n') + 1)).ok());
  EXPECT_NE(lab.run(job, "run").message().find("made with another 'data'"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(data, rows).ok());
  lab.run_whole(job, "run");
}

TEST(Presample, AJobWithNothingLeftToExploreIsBadInput) {
  Lab lab;
  const JobConfig job = lab.job(
      "dph_rl", with(kDphKeys, {{"reward_funcs", {{{"name", "regex"}, {"pattern", "^"}}}},
                                {"presample", {{"k", 2}, {"threshold", 1}, {"on_extra_fail", "drop"}}}}));
  const Status status = lab.run(job, "run");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("raise 'presample.threshold'"), std::string::npos) << status.message();
}

TEST(ResumePresample, SomePromptsAreMasteredAndSomeAreNot) {
  Lab lab;
  lab.run_whole(lab.job("dph_rl", kDphKeys), "run");
  const std::string text = lab.file("run", "presample.jsonl");
  EXPECT_NE(text.find("\"label\":\"pef\""), std::string::npos);
  EXPECT_NE(text.find("\"label\":\"exp\""), std::string::npos);
}

}  // namespace
}  // namespace fulcrum::testing
