// The real programs on loopback: a job gives the same numbers in one process and on a cluster, also when a
// worker is killed in the middle.
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;

class Cluster : public Services {
 protected:
  void SetUp() override { file_ = rollout_job(); }
  std::string file_;
};

TEST_F(Cluster, TwoWorkersGiveTheBitsOfOneProcess) {
  const std::vector<std::string> expected = alone(file_);
  ASSERT_EQ(expected.size(), 12u);
  const auto l = learner();
  const auto one = worker("one"), two = worker("two");
  const std::string id = submit(file_);
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_NE(watched.err.find(id + " 12/12 "), std::string::npos) << watched.err;
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

TEST_F(Cluster, AKilledWorkerCostsNothingButTime) {
  const std::vector<std::string> expected = alone(file_);
  const auto l = learner();
  auto doomed = worker("doomed");
  const std::string id = submit(file_);
  ASSERT_TRUE(eventually([&] { return !slurp(metrics_of(id)).empty(); }));
  doomed->signal(SIGKILL);
  const auto other = worker("other");
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

TEST_F(Cluster, AKilledLearnerGoesOnFromItsCheckpointWithTheSameBits) {
  const std::vector<std::string> expected = alone(file_);
  auto l = learner();
  const auto w = worker("one");
  const std::string id = submit(file_);
  wait_for_checkpoint(id, 4);
  l->signal(SIGKILL);
  l->wait(seconds(10));
  l = learner();
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

TEST_F(Cluster, ThreeWorkersGiveTheBitsOfOne) {
  const std::vector<std::string> expected = alone(file_);
  const auto l = learner();
  const auto one = worker("one"), two = worker("two"), three = worker("three");
  const std::string id = submit(file_);
  EXPECT_EQ(job("watch", id).code, 0);
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

// The weights travel rounded, and from the second version on as what has changed.
TEST_F(Cluster, ABf16JobGivesTheBitsOfOneProcessAndSendsOnlyWhatChanges) {
  const std::string file = rollout_job(
      {{"rollout_dtype", "bfloat16"}, {"dtype", "bfloat16"}, {"learning_rate", 1e-5}, {"beta", 0.01}});
  const std::vector<std::string> expected = alone(file);
  ASSERT_EQ(expected.size(), 12u);
  const auto l = learner();
  const auto one = worker("one"), two = worker("two");
  // One that came later would get the whole weights later.
  for (const char* name : {"one", "two"}) {
    ASSERT_TRUE(eventually([&] {
      return l->err().find("worker '" + std::string(name) + "' joins") != std::string::npos;
    })) << l->err();
  }
  const std::string id = submit(file);
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
  const double whole = 1 << 20;  // a chunk
  std::istringstream lines(slurp(metrics_of(id)));
  for (int step = 1; step <= 12; ++step) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    const Json row = parse_json(line).value();
    const double sent = row.at("perf/publish_bytes").get<double>();
    if (step == 1) {
      EXPECT_GE(sent, whole);
    } else {
      EXPECT_GT(sent, 0) << "step " << step;
      EXPECT_LT(sent, whole / 20) << "step " << step;
    }
    // Both sides multiply weights rounded to bf16: they differ, and not by much.
    const double difference = row.at("sampling/sampling_logp_difference/max").get<double>();
    EXPECT_GT(difference, 1e-6) << "step " << step;
    EXPECT_LT(difference, 0.05) << "step " << step;
  }
}

TEST_F(Cluster, ACancelEndsAGenerationWithinTwoSeconds) {
  const auto l = learner();
  const auto w = worker("one");
  // One step of this job generates for minutes.
  const std::string id =
      submit(file_, {"--set", "num_generations=4096", "--set", "max_completion_length=48"});
  ASSERT_TRUE(eventually([&] { return is(id, "running"); }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(job("cancel", id).code, 0);
  ASSERT_TRUE(eventually([&] { return l->err().find(id + " ends: ") != std::string::npos; })) << l->err();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(2));
  EXPECT_TRUE(is(id, "cancelled"));
  EXPECT_EQ(job("watch", id).code, 130);
  EXPECT_EQ(job("watch", submit(file_)).code, 0) << "the worker and the learner are free for the next job";
}

TEST_F(Cluster, AJobThatFailsSaysWhyToItsWatcherAndInLists) {
  const auto l = learner();
  const std::string id = submit(file_, {"--set", "model_name_or_path=/absent"});
  const Finished watched = job("watch", id);
  EXPECT_EQ(watched.code, 4);
  EXPECT_NE(watched.err.find(id + " failed: no model at '/absent'"), std::string::npos) << watched.err;
  const Json jobs = list();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0]["id"], id);
  EXPECT_EQ(jobs[0]["state"], "failed");
  EXPECT_EQ(job("delete", id).code, 0);
  EXPECT_EQ(job("get", id).code, 3);
}

TEST_F(Cluster, APausedJobWaitsAndGoesOnWithTheSameBits) {
  const std::vector<std::string> expected = alone(file_);
  const auto l = learner();
  const auto w = worker("one");
  const std::string id = submit(file_);
  ASSERT_TRUE(eventually([&] { return !slurp(metrics_of(id)).empty(); }));
  ASSERT_EQ(job("pause", id).code, 0);
  ASSERT_TRUE(eventually([&] { return is(id, "paused"); }));
  const std::string before = slurp(metrics_of(id));
  EXPECT_LT(numbers(metrics_of(id)).size(), expected.size());
  EXPECT_EQ(job("list", id).code, 2) << "list takes no id";
  EXPECT_EQ(slurp(metrics_of(id)), before);
  ASSERT_EQ(job("resume", id).code, 0);
  EXPECT_EQ(job("watch", id).code, 0);
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
  EXPECT_NE(job("logs", id).out.find("succeeded"), std::string::npos);
}

}  // namespace
}  // namespace fulcrum::testing
