// `fulcrum run`, interrupted by signals and killed, and a cluster whose learner is killed: run again, it ends
// with the numbers of the run that was left alone. With stale generation and evaluations, which have the most
// to bring back.
#include <gtest/gtest.h>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/process.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;

class ResumedRun : public ::testing::Test {
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
      rows += dump_json({{"prompt", std::to_string(i) + "+1="}, {"solution", std::to_string(i + 1)}}) + "\n";
    ASSERT_TRUE(write_file_atomic(path("train.jsonl"), rows).ok());
    ASSERT_TRUE(write_file_atomic(path("val.jsonl"), rows.substr(0, rows.find('\n', 300) + 1)).ok());
    const Json job = {{"trainer", "grpo"},
                      {"model_name_or_path", "model"},
                      {"train_files", {"train.jsonl"}},
                      {"val_files", {"val.jsonl"}},
                      {"max_steps", 12},
                      {"prompts_per_step", 8},
                      {"num_generations", 4},
                      {"max_completion_length", 16},
                      {"learning_rate", 1e-3},
                      {"save_steps", 4},
                      {"eval_steps", 3},
                      {"max_staleness", 2},
                      {"beta", 0.05},
                      {"sync_ref_model", true},
                      {"ref_model_sync_steps", 3},
                      {"reward_funcs", {{{"name", "length"}, {"target", 4}}}}};
    ASSERT_TRUE(write_file_atomic(path("job.json"), dump_json(job)).ok());
  }
  std::string fulcrum() const { return program("fulcrum").string(); }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<std::string> command(const std::string& out) const {
    return {fulcrum(), "run", path("job.json"), "--output-dir", path(out)};
  }

  // The lines of metrics.jsonl without what measures the machine.
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
  std::vector<std::string> undisturbed() {
    const Finished f = run(command("alone"), path("alone-log"));
    EXPECT_EQ(f.code, 0) << f.err;
    return numbers(path("alone/metrics.jsonl"));
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

  TempFolder folder_;
};

TEST_F(ResumedRun, AfterAnInterruptAndAKillEndsWithTheSameBits) {
  const std::vector<std::string> expected = undisturbed();
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
  const std::vector<std::string> expected = undisturbed();
  std::string listen = "127.0.0.1:0";
  const auto learner = [&](const std::string& log) {
    auto p = std::make_unique<Process>(
        std::vector<std::string>{fulcrum(), "learner", "--state", path("state"), "--listen", listen},
        path(log));
    EXPECT_TRUE(eventually([&] { return p->out().find("listens on ") != std::string::npos; })) << p->err();
    const std::string out = p->out();
    const size_t at = out.find("listens on ") + 11;
    listen = out.substr(at, out.find(',', at) - at);
    return p;
  };
  auto first = learner("first");
  const Process worker({fulcrum(), "rollout", "--learner", listen, "--name", "one"}, path("worker"));
  const Finished submitted =
      run({fulcrum(), "job", "submit", path("job.json"), "--learner", listen}, path("submit"));
  ASSERT_EQ(submitted.code, 0) << submitted.err;
  const std::string job = submitted.out.substr(0, submitted.out.find('\n'));
  const std::string folder = path("state/runs/" + job);
  ASSERT_TRUE(eventually(
      [&] { return std::filesystem::exists(folder + "/checkpoints/checkpoint-4/MANIFEST.json"); }));
  first->signal(SIGKILL);
  first->wait(seconds(10));
  const auto second = learner("second");
  const Finished watched = run({fulcrum(), "job", "watch", job, "--learner", listen}, path("watch"));
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_TRUE(numbers(folder + "/metrics.jsonl") == expected) << "see " << folder;
}

}  // namespace
}  // namespace fulcrum::testing
