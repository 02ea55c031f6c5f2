// The archive of tools/gpu_check on a machine that has torch and nothing else: an empty environment, and
// libraries from the archive and from torch alone. There is no GPU here, so the CPU stands in its place.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/process.h"

namespace fulcrum::testing {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds kLimit(200);

// Where bench/peer_env.py installs the peers.
fs::path peers_python() {
  const char *deps = std::getenv("FULCRUM_DEPS"), *home = std::getenv("HOME");
  const fs::path folder =
      deps != nullptr ? fs::path(deps) : fs::path(home != nullptr ? home : "/") / ".cache/fulcrum";
  return folder / "bench-venv/bin/python";
}

class GpuPack : public ::testing::Test {
 protected:
  // Made and unpacked once.
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    std::vector<std::string> make = {"/usr/bin/env", "python3", source_folder() / "tools/gpu_check",
                                     "pack",         "--build", build_folder(),
                                     "--out",        archive()};
    if (!fs::exists(build_folder() / "bin/libfulcrum_cuda.so")) make.push_back("--without-plugin");
    const Finished made = testing::run(make, folder_->path() / "make", kLimit);
    ASSERT_EQ(made.code, 0) << made.err;
    const Finished unpacked = testing::run({"/usr/bin/env", "tar", "-C", folder_->path(), "-xzf", archive()},
                                           folder_->path() / "unpack");
    ASSERT_EQ(unpacked.code, 0) << unpacked.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static fs::path archive() { return folder_->path() / "pack.tar.gz"; }
  static fs::path unpacked() { return folder_->path() / "fulcrum-gpu-check"; }

  struct Ran {
    int code;
    std::string err;
    Json report;
  };
  static Ran run_there(std::vector<std::string> options) {
    const fs::path report = folder_->path() / "report.json";
    std::vector<std::string> command = {"/usr/bin/env",
                                        "-i",
                                        "PATH=/usr/bin:/bin",
                                        "HOME=" + folder_->path().string(),
                                        unpacked() / "run",
                                        "--device",
                                        "cpu",
                                        "--small",
                                        "--torch",
                                        FULCRUM_TORCH_ROOT,
                                        "--out",
                                        report};
    command.insert(command.end(), options.begin(), options.end());
    const Finished done = testing::run(command, folder_->path() / "run", kLimit);
    return {done.code, done.err + done.out, parse_json(slurp(report)).value()};
  }

 private:
  static inline TempFolder* folder_ = nullptr;
};

TEST_F(GpuPack, IsSmallEnoughToBeCarried) {
  EXPECT_LT(fs::file_size(archive()), 64U << 20);
  EXPECT_GT(fs::file_size(archive()), 1U << 20);
}

TEST_F(GpuPack, RunsWithItsOwnLibrariesAndTorchAlone) {
  const Ran ran = run_there({"--only", "parity,jobs", "--trainers", "dpo,grpo"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const Json& machine = ran.report.at("machine");
  EXPECT_EQ(machine.at("libraries_missing"), Json::array());
  EXPECT_EQ(machine.at("libraries_of_the_system"), Json::array());
  std::set<std::string> groups;
  const Json& parity = ran.report.at("parts").at("parity");
  for (const Json& check : parity.at("checks")) {
    EXPECT_NE(check.at("state"), "FAIL") << check;
    if (check.at("state") == "ok") groups.insert(check.at("group"));
  }
  EXPECT_EQ(groups,
            (std::set<std::string>{"attention", "heads", "policies", "published_weights", "updates"}));
  const Json& jobs = ran.report.at("parts").at("jobs").at("jobs");
  EXPECT_EQ(jobs.size(), 4U);  // two trainers in two types
  for (const Json& job : jobs) {
    EXPECT_EQ(job.at("state"), "ok") << job;
    EXPECT_EQ(job.at("steps"), 3);
  }
}

// What fails is told and decides how it ends; what else there is stands beside it.
TEST_F(GpuPack, AFailureHidesNothing) {
  const fs::path job = unpacked() / "jobs" / "sft.json";
  const std::string before = slurp(job);
  ASSERT_TRUE(write_file_atomic(job, "{\"trainer\": \"sft\"}").ok());
  const Ran ran = run_there({"--only", "jobs,parity", "--trainers", "sft,reward"});
  ASSERT_TRUE(write_file_atomic(job, before).ok());
  EXPECT_EQ(ran.code, 1);
  for (const Json& line : ran.report.at("parts").at("jobs").at("jobs"))
    EXPECT_EQ(line.at("state"), line.at("trainer") == "sft" ? "FAIL" : "ok") << line;
  EXPECT_GT(ran.report.at("parts").at("parity").at("checks").size(), 20U);
  EXPECT_EQ(ran.report.at("parts").at("parity").at("failed"), 0);
}

// G8 without TRL, as on most machines: that alone is the reason, and nothing failed.
TEST_F(GpuPack, ALineWithoutItsPeerSaysSo) {
  const Ran ran = run_there({"--only", "bench", "--lines", "G8"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const Json& bench = ran.report.at("parts").at("bench");
  EXPECT_EQ(bench.at("lines"), Json::array());
  Json missing = bench.at("missing");
  missing.erase("G0 ceilings");
  ASSERT_EQ(missing.size(), 1U) << missing;
  EXPECT_TRUE(missing.begin().key().starts_with("G8 grpo tiny")) << missing;
  EXPECT_EQ(missing.begin().value(), "the peer is not installed (trl)");
}

// G8 in small, where `./dev bench` has installed TRL.
TEST_F(GpuPack, StepsOfAWholeJobAreComparedAndTimedBesideTrl) {
  const fs::path python = peers_python();
  const std::string has_trl = "import importlib.util as u, sys; sys.exit(u.find_spec('trl') is None)";
  const TempFolder log;
  if (!fs::exists(python) || testing::run({python, "-c", has_trl}, log.path() / "trl", kLimit).code != 0)
    GTEST_SKIP() << "TRL is not installed in " << python;
  const Ran ran = run_there({"--only", "bench", "--lines", "G8", "--python", python});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const Json& bench = ran.report.at("parts").at("bench");
  EXPECT_EQ(bench.at("missing"), Json::object());
  ASSERT_EQ(bench.at("lines").size(), 1U) << ran.err;
  const Json& line = bench.at("lines")[0];
  EXPECT_EQ(line.at("bench"), "G8");
  EXPECT_NE(line.at("check").get<std::string>().find("log-probs of sampler and learner"), std::string::npos);
  EXPECT_NE(line.at("data").get<std::string>().find("generate"), std::string::npos);
  EXPECT_GT(line.at("peer").at("median_s"), 0.0);
}

// What whole_job.same() says of a step of ours and one of the peer; `change` is Python on `ours` and `peer`.
std::string said_of_steps(const std::string& change, const fs::path& log) {
  const std::string code = "import sys\nsys.path[:0] = ['" + (source_folder() / "bench/gpu").string() +
                           "', '" + (source_folder() / "bench").string() +
                           "']\n"
                           "import whole_job\n"
                           "line = next(whole_job.lines(False))\n"
                           "ours = {'loss': 0.0, 'completions/mean_length': 512.0, 'reward': 0.5,\n"
                           "        whole_job.APART + 'mean': 1e-3, whole_job.APART + 'max': 0.2}\n"
                           "peer = {'loss': 0.0, 'mean_length': 512.0, 'reward': 0.52}\n" +
                           change +
                           "\ntry:\n    print(whole_job.same(line, ours, peer))\n"
                           "except whole_job.BenchError as error:\n    print('refused:', error)\n";
  const Finished done = testing::run({"/usr/bin/env", "python3", "-c", code}, log, kLimit);
  return done.out + done.err;
}

TEST(WholeJob, StepsThatAreNotAlikeAreNotTimed) {
  const TempFolder folder;
  const auto said = [&](const std::string& change) { return said_of_steps(change, folder.path() / "said"); };
  EXPECT_TRUE(said("").starts_with("rewards 0.50 / 0.52")) << said("");
  for (const auto& [change, words] : std::map<std::string, std::string>{
           {"ours['loss'] = float('nan')", "our loss is nan"},
           {"peer['loss'] = float('inf')", "the peer's loss is inf"},
           {"peer['mean_length'] = 509.5", "512 and 509.5 tokens"},
           {"ours['reward'] = 0.3", "mean rewards are 0.300 and 0.520"},
           {"ours[whole_job.APART + 'mean'] = 0.06", "the sampler's log-probs are 0.06 from the learner's"},
           {"ours[whole_job.APART + 'mean'] = float('nan')", "the sampler's log-probs are nan"}}) {
    const std::string answer = said(change);
    EXPECT_TRUE(answer.starts_with("refused: ")) << answer;
    EXPECT_NE(answer.find(words), std::string::npos) << answer;
  }
}

}  // namespace
}  // namespace fulcrum::testing
