// The real programs on loopback: a job gives the same numbers in one process and on a cluster, also when a
// worker is killed in the middle.
#include <gtest/gtest.h>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/process.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;

// A tiny model and a rollout job on it, in a folder of the test's own.
class Cluster : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run({fulcrum(), "init-model", path("model"), "--characters", "0123456789+=", "--hidden-size",
                   "32", "--layers", "2", "--intermediate-size", "64", "--heads", "2", "--kv-heads", "2",
                   "--max-positions", "64"},
                  path("init"))
                  .code,
              0);
    std::string rows;
    for (int i = 10; i < 40; ++i)
      rows +=
          R"({"prompt": ")" + std::to_string(i) + R"(+1=", "solution": ")" + std::to_string(i + 1) + "\"}\n";
    ASSERT_TRUE(write_file_atomic(path("train.jsonl"), rows).ok());
    ASSERT_TRUE(write_file_atomic(
                    path("job.json"),
                    R"({"trainer": "grpo", "model_name_or_path": "model", "train_files": ["train.jsonl"],
      "max_steps": 12, "prompts_per_step": 8, "num_generations": 4, "max_completion_length": 16, "learning_rate": 1e-3, "save_steps": 4,
      "reward_funcs": [{"name": "length", "target": 4}]})")
                    .ok());
  }
  std::string fulcrum() const { return program("fulcrum").string(); }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  std::unique_ptr<Process> learner() {
    auto p = std::make_unique<Process>(
        std::vector<std::string>{fulcrum(), "learner", "--state", path("state"), "--listen", listen_},
        folder_.path() / ("learner" + std::to_string(++learners_)));
    EXPECT_TRUE(eventually([&] { return p->out().find("listens on ") != std::string::npos; })) << p->err();
    const std::string out = p->out();
    const size_t at = out.find("listens on ") + 11;
    listen_ = out.substr(at, out.find(',', at) - at);
    return p;
  }
  std::unique_ptr<Process> worker(const std::string& name) {
    return std::make_unique<Process>(
        std::vector<std::string>{fulcrum(), "rollout", "--learner", listen_, "--name", name},
        folder_.path() / name);
  }
  // With overrides: {"--set", "a=b", ...}.
  std::string submit(const std::vector<std::string>& set = {}) {
    std::vector<std::string> command = {fulcrum(), "job", "submit", path("job.json"), "--learner", listen_};
    command.insert(command.end(), set.begin(), set.end());
    const Finished f = run(command, path("submit"));
    EXPECT_EQ(f.code, 0) << f.err;
    return f.out.substr(0, f.out.find('\n'));
  }
  Finished job(const std::string& verb, const std::string& id) {
    return run({fulcrum(), "job", verb, id, "--learner", listen_}, path(verb));
  }
  bool is(const std::string& id, const std::string& state) {
    return job("get", id).out.find(" " + state + " ") != std::string::npos;
  }
  Finished watch(const std::string& job) {
    return run({fulcrum(), "job", "watch", job, "--learner", listen_}, path("watch"));
  }
  std::string metrics_of(const std::string& job) { return path("state/runs/" + job + "/metrics.jsonl"); }

  // Lines without what measures the machine.
  static std::vector<std::string> numbers(const std::string& file) {
    std::vector<std::string> out;
    std::istringstream lines(slurp(file));
    for (std::string line; std::getline(lines, line);) {
      Json kept = Json::object();
      const Json row = parse_json(line).value();
      for (const auto& [key, value] : row.items()) {
        if (!key.starts_with("timing_s/") && !key.starts_with("perf/")) kept[key] = value;
      }
      out.push_back(dump_json(kept));
    }
    return out;
  }
  std::vector<std::string> alone() {
    const Finished f = run({fulcrum(), "run", path("job.json"), "--output-dir", path("alone")}, path("run"));
    EXPECT_EQ(f.code, 0) << f.err;
    return numbers(path("alone/metrics.jsonl"));
  }

  TempFolder folder_;
  int learners_ = 0;  // each start has output files of its own
  std::string listen_ = "127.0.0.1:0";
};

TEST_F(Cluster, TwoWorkersGiveTheBitsOfOneProcess) {
  const std::vector<std::string> expected = alone();
  ASSERT_EQ(expected.size(), 12u);
  const auto l = learner();
  const auto one = worker("one"), two = worker("two");
  const std::string job = submit();
  const Finished watched = watch(job);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_NE(watched.err.find(job + " 12/12 "), std::string::npos) << watched.err;
  EXPECT_TRUE(numbers(metrics_of(job)) == expected) << "see " << metrics_of(job);
}

TEST_F(Cluster, AKilledWorkerCostsNothingButTime) {
  const std::vector<std::string> expected = alone();
  const auto l = learner();
  auto doomed = worker("doomed");
  const std::string job = submit();
  ASSERT_TRUE(eventually([&] { return !slurp(metrics_of(job)).empty(); }));
  doomed->signal(SIGKILL);
  const auto other = worker("other");
  const Finished watched = watch(job);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_TRUE(numbers(metrics_of(job)) == expected) << "see " << metrics_of(job);
}

TEST_F(Cluster, AKilledLearnerGoesOnFromItsCheckpointWithTheSameBits) {
  const std::vector<std::string> expected = alone();
  auto l = learner();
  const auto w = worker("one");
  const std::string job = submit();
  ASSERT_TRUE(eventually([&] {
    return std::filesystem::exists(path("state/runs/" + job + "/checkpoints/checkpoint-4/MANIFEST.json"));
  }));
  l->signal(SIGKILL);
  l->wait(seconds(10));
  l = learner();
  const Finished watched = watch(job);
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_TRUE(numbers(metrics_of(job)) == expected) << "see " << metrics_of(job);
}

TEST_F(Cluster, ThreeWorkersGiveTheBitsOfOne) {
  const std::vector<std::string> expected = alone();
  const auto l = learner();
  const auto one = worker("one"), two = worker("two"), three = worker("three");
  const std::string id = submit();
  EXPECT_EQ(watch(id).code, 0);
  EXPECT_TRUE(numbers(metrics_of(id)) == expected) << "see " << metrics_of(id);
}

TEST_F(Cluster, ACancelEndsAGenerationWithinTwoSeconds) {
  const auto l = learner();
  const auto w = worker("one");
  // One step of this job generates for minutes.
  const std::string id = submit({"--set", "num_generations=4096", "--set", "max_completion_length=48"});
  ASSERT_TRUE(eventually([&] { return is(id, "running"); }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(job("cancel", id).code, 0);
  ASSERT_TRUE(eventually([&] { return l->err().find(id + " ends: ") != std::string::npos; })) << l->err();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(2));
  EXPECT_TRUE(is(id, "cancelled"));
  EXPECT_EQ(watch(id).code, 130);
  EXPECT_EQ(watch(submit()).code, 0) << "the worker and the learner are free for the next job";
}

TEST_F(Cluster, AJobThatFailsSaysWhyToItsWatcherAndInLists) {
  const auto l = learner();
  const std::string id = submit({"--set", "model_name_or_path=/absent"});
  const Finished watched = watch(id);
  EXPECT_EQ(watched.code, 4);
  EXPECT_NE(watched.err.find(id + " failed: no model at '/absent'"), std::string::npos) << watched.err;
  const Finished listed = run({fulcrum(), "job", "list", "-o", "json", "--learner", listen_}, path("list"));
  const Json jobs = parse_json(listed.out).value();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0]["id"], id);
  EXPECT_EQ(jobs[0]["state"], "failed");
  EXPECT_EQ(job("delete", id).code, 0);
  EXPECT_EQ(job("get", id).code, 3);
}

TEST_F(Cluster, APausedJobWaitsAndGoesOnWithTheSameBits) {
  const std::vector<std::string> expected = alone();
  const auto l = learner();
  const auto w = worker("one");
  const std::string id = submit();
  ASSERT_TRUE(eventually([&] { return !slurp(metrics_of(id)).empty(); }));
  ASSERT_EQ(job("pause", id).code, 0);
  ASSERT_TRUE(eventually([&] { return is(id, "paused"); }));
  const std::string before = slurp(metrics_of(id));
  EXPECT_LT(numbers(metrics_of(id)).size(), expected.size());
  EXPECT_EQ(job("list", "").code, 2) << "list takes no id";
  EXPECT_EQ(slurp(metrics_of(id)), before);
  ASSERT_EQ(job("resume", id).code, 0);
  EXPECT_EQ(watch(id).code, 0);
  EXPECT_TRUE(numbers(metrics_of(id)) == expected) << "see " << metrics_of(id);
  EXPECT_NE(job("logs", id).out.find("succeeded"), std::string::npos);
}

}  // namespace
}  // namespace fulcrum::testing
