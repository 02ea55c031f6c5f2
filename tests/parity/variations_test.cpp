// Keys that change how the work is cut, and not what is learnt.
#include <algorithm>
#include <cmath>

#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

struct Method {
  std::string trainer;
  Json keys;
};

std::vector<Method> methods() {
  return {{"sft", Json::object()},
          {"dpo", Json::object()},
          {"tdpo", Json::object()},
          {"grpo", {{"beta", 0.1}, {"num_iterations", 2}}},
          {"grpo", {{"loss_type", "grpo"}}},
          {"grpo", {{"loss_type", "dr_grpo"}}},
          {"ppo", {{"num_iterations", 2}}},
          {"ppo", {{"value_head", "shared"}, {"kl_in", "loss"}}},
          {"reward", {{"center_rewards_coefficient", 0.1}}},
          {"dph_rl",
           {{"reward_funcs", {{{"name", "regex"}, {"pattern", "[5-9]"}}}},
            {"stop", {"1", "2", "3"}},
            {"presample", {{"k", 4}, {"threshold", 2}, {"rehearsal_per_step", 3}}}}}};
}

TEST(Variations, TheMicroBatchChangesNoMetricByMoreThanRounding) {
  for (const Method& m : methods()) {
    Lab lab;
    const auto job = [&](int64_t max_tokens) {
      Json keys = m.keys;
      keys.update({{"max_tokens_per_micro_batch", max_tokens}, {"learning_rate", 1e-3}, {"max_steps", 4}});
      return lab.job(m.trainer, keys);
    };
    lab.run_whole(job(1 << 20), "whole");
    for (const int64_t limit : {1, 40, 100}) {
      const std::string name = "cut" + std::to_string(limit);
      SCOPED_TRACE(m.trainer + " " + m.keys.dump() + " " + name);
      lab.run_whole(job(limit), name);
      expect_near_metrics(lab.metrics("whole"), lab.metrics(name));
    }
  }
}

// In fp32 what the decoder says of a token it draws is what the learner says of it, after updates too. The
// greatest difference bounds the root of the mean square.
TEST(Variations, TheDecodersLogProbsAreTheLearners) {
  for (const std::string trainer : {"grpo", "ppo"}) {
    Lab lab;
    lab.run_whole(lab.job(trainer, {{"learning_rate", 1e-3}, {"max_steps", 4}}), "run");
    for (const Json& row : lab.metrics("run")) {
      EXPECT_LE(row.at("sampling/sampling_logp_difference/max").get<double>(), 1e-5)
          << trainer << " " << row.dump();
    }
  }
}

TEST(Variations, TheBatchAndTheThreadsOfTheRolloutsChangeNoBit) {
  for (const std::string trainer : {"grpo", "dph_rl"}) {
    Lab lab;
    const Json keys =
        trainer == "grpo" ? Json{{"eval_steps", 3}, {"max_staleness", 1}} : methods().back().keys;
    const JobConfig job = lab.job(trainer, keys);
    lab.run_whole(job, "usual");
    for (const auto& [batch, threads] : {std::pair<int64_t, int64_t>{1, 1}, {5, 2}, {64, 3}}) {
      JobConfig other = job;
      other.sampling.rollout_max_batch = batch;
      other.sampling.rollout_threads = threads;
      const std::string name = std::to_string(batch) + "x" + std::to_string(threads);
      lab.run_whole(other, name);
      lab.expect_same_runs(job, "usual", name);
    }
  }
}

// Rollouts may be cut otherwise in the middle of a run, since nothing depends on it.
TEST(Variations, ARunMayGoOnWithOtherRolloutThreads) {
  Lab lab;
  const JobConfig job = lab.job("grpo");
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "changed", {.stop_after = 3}).code(), Code::kUnavailable);
  JobConfig other = job;
  other.sampling.rollout_max_batch = 2;
  other.sampling.rollout_threads = 2;
  lab.run_whole(other, "changed");
  lab.expect_same_runs(job, "straight", "changed");
}

TEST(Variations, ALongerHorizonContinuesAFinishedRun) {
  Lab lab;
  JobConfig job = lab.job("grpo", {{"max_staleness", 2}});
  lab.run_whole(job, "straight");
  JobConfig half = job;
  half.max_steps = 3;
  lab.run_whole(half, "extended");
  lab.run_whole(job, "extended");
  lab.expect_same_runs(job, "straight", "extended");
  EXPECT_EQ(lab.run(half, "extended").code(), Code::kFailedPrecondition) << "it is beyond that now";
}

TEST(Variations, AnotherSettingIsNotAResume) {
  Lab lab;
  lab.run_whole(lab.job("sft"), "run");
  EXPECT_EQ(lab.run(lab.job("sft", {{"learning_rate", 0.02}}), "run").code(), Code::kFailedPrecondition);
  // What was refused leaves the folder as it was.
  EXPECT_EQ(lab.run(lab.job("sft", {{"learning_rate", 0.02}, {"resume", "never"}}), "run").code(),
            Code::kFailedPrecondition);
  EXPECT_TRUE(lab.run(lab.job("sft"), "run").ok());
}

}  // namespace
}  // namespace fulcrum::testing
