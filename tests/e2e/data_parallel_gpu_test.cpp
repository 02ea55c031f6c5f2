// Two ranks on two GPUs give what one rank gives on one. Skips with a word on machines that have fewer.
#include "engine/kernels/device/driver.h"
#include "tests/support/rank_processes.h"
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;
using Ranks = std::vector<std::unique_ptr<Process>>;

class DataParallelOnGpus : public Services {
 protected:
  void SetUp() override {
    Services::SetUp();
    const auto own = kernels::own_gpu();
    if (!own.ok()) GTEST_SKIP() << "needs two GPUs: " << own.status().message();
    if (kernels::read_driver()->gpus.size() < 2) GTEST_SKIP() << "needs two GPUs, this machine has one";
  }
  Ranks run_on(int size, const std::string& job, const std::string& folder) const {
    return start_ranks(size,
                       {program("fulcrum"), "run", job, "--device", "cuda", "--output-dir", path(folder),
                        "--ddp-timeout", "60"},
                       path(folder + "_of"));
  }
  // The end of each, and no warning: of a GPU that is left alone, or gradients that go over the hosts.
  static void expect_well(const Ranks& ranks) {
    for (size_t r = 0; r < ranks.size(); ++r) {
      EXPECT_EQ(ranks[r]->wait(seconds(200)), 0) << "rank " << r << ": " << ranks[r]->err();
      EXPECT_EQ(ranks[r]->err().find("gradients are summed over the hosts"), std::string::npos);
      EXPECT_EQ(ranks[r]->err().find("the GPU is used without"), std::string::npos) << ranks[r]->err();
    }
  }
};

// A small learning rate: rollouts that rounding cannot change.
TEST_F(DataParallelOnGpus, TwoGiveTheNumbersOfOne) {
  const std::string job = rollout_job({{"learning_rate", 1e-5}, {"max_steps", 4}});
  expect_well(run_on(1, job, "one"));
  expect_well(run_on(2, job, "two"));
  expect_well(run_on(2, job, "again"));
  const auto two = numbers(path("two/metrics.jsonl"));
  expect_close_metrics(two, numbers(path("one/metrics.jsonl")), 1e-5);
  EXPECT_EQ(difference(two, numbers(path("again/metrics.jsonl"))), "");
  const std::string model = "/checkpoints/checkpoint-4/model.safetensors";
  EXPECT_LT(largest_difference(path("two" + model), path("one" + model)), 1e-6);
  EXPECT_EQ(largest_difference(path("two" + model), path("again" + model)), 0);
}

// The other one is at work on its GPU, or waits for this one there.
TEST_F(DataParallelOnGpus, ARankThatIsKilledEndsTheOtherByTheDeadlineAndIsNamed) {
  const Ranks ranks = run_on(2, rollout_job({{"max_steps", 100000}, {"log_completions", false}}), "out");
  ASSERT_TRUE(
      eventually([&] { return slurp(path("out/metrics.jsonl")).size() > 2000 || !ranks[0]->running(); }));
  ASSERT_TRUE(ranks[0]->running()) << ranks[0]->err();
  ranks[1]->signal(SIGKILL);
  EXPECT_EQ(ranks[0]->wait(seconds(100)), 5) << ranks[0]->err();
  EXPECT_NE(ranks[0]->err().find("rank 1 of 2"), std::string::npos) << ranks[0]->err();
}

}  // namespace
}  // namespace fulcrum::testing
