// The archive of tools/gpu_check on a machine that has torch and nothing else: an empty environment, and
// libraries from the archive and from torch alone. There is no GPU here, so the CPU stands in its place.
#include <filesystem>
#include <set>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/process.h"

namespace fulcrum::testing {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds kLimit(200);

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
  EXPECT_EQ(groups, (std::set<std::string>{"attention", "heads", "policies", "updates"}));
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

}  // namespace
}  // namespace fulcrum::testing
