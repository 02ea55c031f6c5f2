// `fulcrum run`, interrupted by signals and killed, and a cluster whose learner is killed: run again, it ends
// with the numbers of the run that was left alone. With stale generation and evaluations, which have the most
// to bring back.
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;

class ResumedRun : public Services {
 protected:
  void SetUp() override {
    file_ = rollout_job({{"val_files", {"val.jsonl"}},
                         {"eval_steps", 3},
                         {"max_staleness", 2},
                         {"beta", 0.05},
                         {"sync_ref_model", true},
                         {"ref_model_sync_steps", 3}});
    const std::string rows = slurp(path("train.jsonl"));
    write("val.jsonl", rows.substr(0, rows.find('\n', 300) + 1));
  }
  std::vector<std::string> command(const std::string& out) const {
    return {program("fulcrum"), "run", file_, "--output-dir", path(out)};
  }
  // Starts the run, sends the signal once `steps` lines are written, and waits for its end.
  void disturb(const std::string& out, int number, int64_t steps) {
    Process p(command(out), path(out + "-log"));
    const auto lines = [&] {
      const std::string text = slurp(path(out + "/metrics.jsonl"));
      return std::count(text.begin(), text.end(), '\n');
    };
    ASSERT_TRUE(eventually([&] { return lines() >= steps || !p.running(); })) << p.err();
    p.signal(number);
    ASSERT_NE(p.wait(seconds(30)), -1);
  }

  std::string file_;
};

TEST_F(ResumedRun, AfterAnInterruptAndAKillEndsWithTheSameBits) {
  const std::vector<std::string> expected = alone(file_);
  ASSERT_EQ(expected.size(), 12u);
  disturb("out", SIGINT, 2);
  disturb("out", SIGKILL, 5);
  disturb("out", SIGTERM, 7);
  disturb("out", SIGKILL, 10);
  const Finished last = run(command("out"), path("last"));
  EXPECT_EQ(last.code, 0) << last.err;
  EXPECT_TRUE(numbers(path("out/metrics.jsonl")) == expected);
  EXPECT_EQ(slurp(path("out/events.jsonl")).find("is not the run before it"), std::string::npos);
  for (const char* file : {"model.safetensors", "fulcrum_state.safetensors", "fulcrum_state.json"}) {
    const std::string at = "/checkpoints/checkpoint-12/" + std::string(file);
    EXPECT_TRUE(slurp(path("out" + at)) == slurp(path("alone" + at))) << file;
  }
}

TEST_F(ResumedRun, ACancelActsWithinTwoSeconds) {
  Process p(command("out"), path("log"));
  ASSERT_TRUE(eventually([&] { return !slurp(path("out/metrics.jsonl")).empty(); })) << p.err();
  p.signal(SIGINT);
  EXPECT_NE(p.wait(seconds(2)), -1) << "it still runs";
}

// The learner of a cluster, killed where older versions of the weights are in use.
TEST_F(ResumedRun, AKilledLearnerGoesOnWithStaleGenerationAndTheSameBits) {
  const std::vector<std::string> expected = alone(file_);
  auto first = learner();
  const auto one = worker("one");
  const std::string id = submit(file_);
  wait_for_checkpoint(id, 4);
  first->signal(SIGKILL);
  first->wait(seconds(10));
  const auto second = learner();
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

}  // namespace
}  // namespace fulcrum::testing
