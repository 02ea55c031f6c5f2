// What stops a job before a wrong number trains, and what a full disk does, through the whole job.
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>

#include "engine/jobs/checkpoint.h"
#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

// The lab's model with an output weight that overflows, so that no log-prob is finite.
void write_broken_model(const Lab& lab) {
  Model model = load_model(lab.path("model")).value();
  TensorView& head = model.tensors.at("lm_head.weight");
  const std::vector<float> huge(static_cast<size_t>(head.numel()), 3e38F);
  head = make_tensor(head.shape, huge);
  ASSERT_TRUE(make_folders(lab.path("broken")).ok());
  ASSERT_TRUE(write_character_tokenizer(lab.path("broken"), "0123456789+=").ok());
  ASSERT_TRUE(write_model(lab.path("broken"), model, {}).ok());
}

TEST(Guards, ThreeNonFiniteStepsInARowStopTheJobAlsoAcrossAResume) {
  Lab lab;
  write_broken_model(lab);
  const JobConfig job = lab.job("sft", {{"model_name_or_path", lab.path("broken").string()}});
  for (const bool resumed : {false, true}) {
    const std::string name = resumed ? "resumed" : "straight";
    if (resumed) {
      ASSERT_EQ(lab.run(job, name, {.stop_after = 2}).code(), Code::kUnavailable);
    }
    const Status status = lab.run(job, name);
    EXPECT_EQ(status.code(), Code::kDataLoss);
    EXPECT_NE(status.message().find("max_skipped_steps"), std::string::npos) << status.message();
    const std::vector<Json> lines = lab.metrics(name);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0]["guards/skipped_steps"], 1.0);
    EXPECT_EQ(lines[1]["guards/skipped_steps"], 2.0);
    EXPECT_FALSE(lines[1].contains("loss"));
    // What the learner warned of is what those who watch read.
    const std::string events = lab.file(name, "events.jsonl");
    EXPECT_NE(events.find("the policy's log-prob of token 0 of a completion of prompt row"),
              std::string::npos)
        << events;
    EXPECT_NE(events.find("the step is skipped"), std::string::npos) << events;
  }
}

TEST(Guards, AJudgeThatGivesNoScoresStopsTheJobBeforeAStep) {
  Lab lab;
  const Json math = {{"reward_funcs", {{{"name", "math"}}}}};  // the rows have no solution
  const Status status = lab.run(lab.job("grpo", math), "run");
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("12 of the step's 12 completions have no score (max_unscored_share)"),
            std::string::npos)
      << status.message();
  EXPECT_TRUE(lab.metrics("run").empty());
  Json allowed = math;
  allowed["max_unscored_share"] = 1;
  lab.run_whole(lab.job("grpo", allowed), "allowed");
  const std::string events = lab.file("allowed", "events.jsonl");
  EXPECT_NE(events.find("nothing to learn from"), std::string::npos);
  EXPECT_NE(events.find("12 of the step's 12 completions have no score"), std::string::npos);
  EXPECT_NE(lab.file("run", "events.jsonl").find("the run ends here"), std::string::npos);
}

TEST(Guards, RewardsWithoutSpreadStopTheJobAlsoAcrossAResume) {
  Lab lab;
  const JobConfig job = lab.job(
      "grpo", {{"max_zero_std_steps", 3}, {"reward_funcs", {{{"name", "regex"}, {"pattern", "never"}}}}});
  ASSERT_EQ(lab.run(job, "run", {.stop_after = 1}).code(), Code::kUnavailable);
  const Status status = lab.run(job, "run");
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("max_zero_std_steps"), std::string::npos) << status.message();
  EXPECT_EQ(lab.metrics("run").size(), 2u);
}

TEST(Guards, AnEvaluationThatIsNotFiniteIsNeverTheBest) {
  Lab lab;
  write_broken_model(lab);
  const JobConfig job = lab.job("sft", {{"model_name_or_path", lab.path("broken").string()},
                                        {"eval_steps", 1},
                                        {"max_steps", 3},
                                        {"max_skipped_steps", 9}});
  lab.run_whole(job, "run");
  EXPECT_FALSE(std::filesystem::exists(lab.path("run") / "checkpoints/BEST"));
}

// No file of this process may grow beyond the limit while it lives: to a writer that is a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
};

TEST(FullDisk, FailsTheJobInWordsAndTheLastGoodCheckpointStays) {
  Lab lab;
  const JobConfig job = lab.job("grpo", {{"max_staleness", 1}});
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "full", {.stop_after = 2}).code(), Code::kUnavailable);
  {
    const FullDisk disk(16 << 10);  // below a checkpoint's tensors, above the logs of six steps
    const Status status = lab.run(job, "full");
    EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.message();
    EXPECT_NE(status.message().find("checkpoint of step 4"), std::string::npos) << status.message();
  }
  const auto store = CheckpointStore::read_only(lab.path("full") / "checkpoints");
  EXPECT_EQ(store.steps().value(), std::vector<int64_t>{2});
  EXPECT_TRUE(store.verified(2).ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(lab.path("full") / "checkpoints"),
                          std::filesystem::directory_iterator()),
            1)
      << "nothing half written is left";
  lab.run_whole(job, "full");
  lab.expect_same_runs(job, "straight", "full");
}

TEST(FullDisk, InThePresampleStageLosesNoPromptAndChangesNoBit) {
  Lab lab;
  const JobConfig job =
      lab.job("dph_rl", {{"reward_funcs", {{{"name", "regex"}, {"pattern", "[5-9]"}}}},
                         {"stop", {"1", "2", "3"}},
                         {"presample", {{"k", 4}, {"threshold", 2}, {"rehearsal_per_step", 3}}}});
  lab.run_whole(job, "straight");
  {
    const FullDisk disk(5000);
    EXPECT_EQ(lab.run(job, "full").code(), Code::kResourceExhausted);
  }
  const std::string part = lab.file("full", "presample.jsonl");
  const auto lines = std::count(part.begin(), part.end(), '\n');
  EXPECT_TRUE(lines > 1 && lines < 1 + 64) << lines << ": not in the middle of the first portion";
  lab.run_whole(job, "full");
  lab.expect_same_runs(job, "straight", "full");
  EXPECT_EQ(lab.file("full", "presample.jsonl"), lab.file("straight", "presample.jsonl"));
}

}  // namespace
}  // namespace fulcrum::testing
