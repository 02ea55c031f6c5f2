// Where a job learns, as the real programs say it: on a machine without a GPU, and beside a stand-in for
// NVIDIA's driver that shows GPUs of every kind.
#include <gmock/gmock.h>

#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Device : public Tools {
 protected:
  ~Device() override {
    for (const char* name : {"LD_LIBRARY_PATH", "FAKE_GPUS", "FAKE_CAPABILITY", "FAKE_CUDA", "FAKE_ERROR",
                             "LOCAL_RANK", "CUDA_VISIBLE_DEVICES"})
      ::unsetenv(name);
  }
  // Programs that start from now on find a driver.
  static void with_driver(const std::map<std::string, std::string>& variables = {}) {
    ::setenv("LD_LIBRARY_PATH", FULCRUM_FAKE_DRIVER, 1);
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }
  Finished learn(const std::string& device) {
    small_model();
    small_job("job.json", {{"max_steps", 1}});
    return fulcrum({"run", path("job.json"), "--output-dir", path("run" + device), "--device", device});
  }
  std::string doctor() { return out({"doctor", "--folder", path("")}); }
};

bool has_gpu() { return std::filesystem::exists("/dev/nvidiactl"); }

TEST_F(Device, WithoutADriverEverythingLearnsOnTheCpu) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_THAT(doctor(), HasSubstr("none: no NVIDIA driver; models learn on the CPU"));
  const Finished automatic = learn("auto");
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.err, Not(HasSubstr("GPU")));
  const Finished asked = learn("cuda");
  EXPECT_EQ(asked.code, 4);
  EXPECT_THAT(asked.err, HasSubstr("there is no NVIDIA driver (libcuda.so.1) on this machine"));
  EXPECT_FALSE(std::filesystem::exists(path("runcuda"))) << "a job that cannot start leaves no run folder";
}

// Verbs that only generate, which need no LibTorch, say the same.
TEST_F(Device, WithoutADriverCompletionsComeFromTheCpu) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  const std::string model = small_model();
  const std::vector<std::string> greedy = {"generate",         "1+1=", "-m", model, "--greedy",
                                           "--max-new-tokens", "4"};
  const auto with = [&](const std::string& device) {
    std::vector<std::string> command = greedy;
    command.insert(command.end(), {"--device", device});
    return fulcrum(command);
  };
  EXPECT_EQ(with("auto").out, out(greedy));
  EXPECT_EQ(with("cpu").out, out(greedy));
  EXPECT_EQ(with("cuda").code, 4);
  EXPECT_THAT(with("cuda").err, HasSubstr("there is no NVIDIA driver"));
  EXPECT_THAT(fulcrum({"rollout", "--learner", "127.0.0.1:1", "--device", "cuda"}).err,
              HasSubstr("there is no NVIDIA driver"));
  with_driver({{"FAKE_CAPABILITY", "75"}});
  const Finished old = with("auto");
  EXPECT_EQ(old.code, 0);
  EXPECT_THAT(old.err, HasSubstr("completions are generated on the CPU, not on the GPU"));
}

TEST_F(Device, AnUnknownDeviceIsRefusedBeforeAnythingRuns) {
  const Finished wrong = learn("gpu");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("--device"));
  small_job("job.json", {{"device", "gpu"}});
  EXPECT_THAT(fulcrum({"config", "check", path("job.json")}).err, HasSubstr("device"));
}

TEST_F(Device, AGpuThatIsTooOldIsNamed) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  with_driver({{"FAKE_CAPABILITY", "75"}});
  EXPECT_THAT(doctor(), AllOf(HasSubstr("compute capability 7.5"), HasSubstr("models learn on the CPU"),
                              Not(HasSubstr("\x1b"))));
  const Finished asked = learn("cuda");
  EXPECT_EQ(asked.code, 4);
  EXPECT_THAT(asked.err, HasSubstr("compute capability 7.5, this build needs 8.0"));
  const Finished automatic = learn("auto");
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.err, HasSubstr("the CPU is used, not the GPU"));
}

TEST_F(Device, AnOldDriverOneThatFailsAndOneWithoutGpusAreNamed) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  with_driver({{"FAKE_CUDA", "12040"}});
  EXPECT_THAT(learn("cuda").err, HasSubstr("supports CUDA 12.4, this build needs 13.0"));
  with_driver({{"FAKE_CUDA", "13000"}, {"FAKE_GPUS", "0"}});
  EXPECT_THAT(learn("cuda").err, HasSubstr("shows no GPU"));
  with_driver({{"FAKE_GPUS", "1"}, {"FAKE_ERROR", "999"}});
  EXPECT_THAT(learn("cuda").err, HasSubstr("cuInit gives error 999 (CUDA_ERROR_UNKNOWN)"));
}

// As CUDA_VISIBLE_DEVICES does it: nobody is warned of a GPU that was hidden on purpose.
TEST_F(Device, AHiddenGpuIsNone) {
  with_driver({{"FAKE_ERROR", "100"}});
  const Finished automatic = learn("auto");
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.err, Not(HasSubstr("GPU")));
  EXPECT_THAT(learn("cuda").err, HasSubstr("shows no GPU to this process"));
  EXPECT_THAT(doctor(), HasSubstr("shows no GPU to this process"));
}

// A GPU of the right kind: what comes next is LibTorch's CUDA library, or its finding that nothing is there.
TEST_F(Device, AGpuThatFitsIsTriedAndARankBeyondTheGpusIsRefused) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  with_driver();
  EXPECT_THAT(doctor(), AllOf(HasSubstr("80.0 GiB, compute capability 9.0"), HasSubstr("gpu kernels")));
  const Finished asked = learn("cuda");
  EXPECT_EQ(asked.code, 4);
  EXPECT_THAT(asked.err, ::testing::AnyOf(HasSubstr("LibTorch's CUDA library cannot be loaded"),
                                          HasSubstr("LibTorch finds no GPU")));
  with_driver({{"LOCAL_RANK", "3"}});
  EXPECT_THAT(learn("cuda").err, HasSubstr("LOCAL_RANK is 3, but this machine has 1 GPU"));
  with_driver({{"CUDA_VISIBLE_DEVICES", "3"}});
  EXPECT_THAT(learn("cuda").err, Not(HasSubstr("LOCAL_RANK"))) << "the one that its launcher left it";
}

// The driver shows a GPU, and neither LibTorch nor the plugin's runtime can use it: a job that may choose
// learns and generates on the CPU, and says both.
TEST_F(Device, AGpuThatFitsAndCannotBeUsedIsLeftAlone) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  with_driver();
  const Finished automatic = learn("auto");
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.err, AllOf(HasSubstr("the CPU is used, not the GPU"),
                                   HasSubstr("completions are generated on the CPU, not on the GPU")));
  const Finished generated = fulcrum(
      {"generate", "1+1=", "-m", small_model(), "--greedy", "--max-new-tokens", "4", "--device", "auto"});
  EXPECT_EQ(generated.code, 0) << generated.err;
}

// Of two GPUs each rank's own must fit, not the first.
TEST_F(Device, ARankLooksAtItsOwnGpu) {
  if (has_gpu()) GTEST_SKIP() << "this machine has a GPU";
  with_driver({{"FAKE_GPUS", "2"}, {"FAKE_CAPABILITY", "90,75"}, {"LOCAL_RANK", "1"}});
  EXPECT_THAT(learn("cuda").err, HasSubstr("(number 1) has compute capability 7.5, this build needs 8.0"));
  with_driver({{"FAKE_CAPABILITY", "75,90"}});
  EXPECT_THAT(learn("cuda").err, Not(HasSubstr("compute capability")));
}

}  // namespace
}  // namespace fulcrum::testing
