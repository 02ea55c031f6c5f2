// One thread by default, --threads N for more, never more than the cores: as the real programs do it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/stat.h>

#include "engine/core/cores.h"
#include "engine/core/kernel_files.h"
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Threads : public Services {
 protected:
  // As a user has it: without the variable that the test runner sets.
  void SetUp() override { ::unsetenv("OMP_NUM_THREADS"); }

  Json config_of(const std::string& run) const {
    return parse_json(slurp(path(run + "/config.json"))).value();
  }
};

// Keeps the programs that start within its life on one core.
class OneCore {
 public:
  OneCore() {
    EXPECT_EQ(::sched_getaffinity(0, sizeof before_, &before_), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before_)) ++first;
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    EXPECT_EQ(::sched_setaffinity(0, sizeof mask, &mask), 0);
  }
  ~OneCore() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

// `logps` reads rows from a pipe and waits for the next one: then its threads can be counted.
class WaitingLogps {
 public:
  WaitingLogps(const std::string& folder, const std::string& model, const std::vector<std::string>& options)
      : pipe_(folder + "/pipe" + options.back()) {
    EXPECT_EQ(::mkfifo(pipe_.c_str(), 0600), 0);
    std::vector<std::string> command = {program("fulcrum"), "logps", "-m", model, "-i", pipe_};
    command.insert(command.end(), options.begin(), options.end());
    process_ = std::make_unique<Process>(command, folder + "/logps" + options.back());
    out_ = std::make_unique<std::ofstream>(pipe_);
  }
  // Threads of the process once it has answered a row that is worth several.
  int threads_after_a_row() {
    std::string text;
    for (int i = 0; i < 2000; ++i) text += std::to_string(i % 10);
    // The input is read in blocks: blanks of the next line fill this one's.
    *out_ << dump_json({{"prompt", "1"}, {"completion", text}}) << '\n'
          << std::string(1 << 18, ' ') << std::flush;
    EXPECT_TRUE(eventually([&] { return process_->out().find("\"logps\"") != std::string::npos; }))
        << process_->err();
    const std::string status = read_kernel_file("/proc/" + std::to_string(process_->pid()) + "/status");
    const size_t at = status.find("Threads:");
    return at == std::string::npos ? -1 : std::stoi(status.substr(at + 8));
  }

 private:
  std::string pipe_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<std::ofstream> out_;
};

TEST_F(Threads, OneByDefaultAndAsManyAsAskedFor) {
  if (usable_cores() < 2) GTEST_SKIP() << "needs two cores";
  out({"init-model", path("model"), "--characters", "0123456789", "--hidden-size", "128", "--layers", "2",
       "--intermediate-size", "256", "--heads", "4", "--kv-heads", "4", "--max-positions", "2048"});
  WaitingLogps one(folder_.path().string(), path("model"), {"--temperature", "1"});
  EXPECT_EQ(one.threads_after_a_row(), 1);
  WaitingLogps two(folder_.path().string(), path("model"), {"--threads", "2"});
  EXPECT_EQ(two.threads_after_a_row(), 2);
}

TEST_F(Threads, ARunTakesNoMoreThanTheCoresAndItsConfigSaysSo) {
  small_model();
  const std::string job = small_job("job.json", {{"threads", 3}, {"rollout_threads", 3}});
  {
    const OneCore one;
    const Finished f = fulcrum({"run", job, "--output-dir", path("narrow")});
    ASSERT_EQ(f.code, 0) << f.err;
    EXPECT_THAT(f.err, HasSubstr("'threads' asks for 3 threads, but the process may run on 1 core"));
    EXPECT_THAT(f.err, HasSubstr("'rollout_threads' asks for 3 threads"));
  }
  EXPECT_EQ(config_of("narrow")["threads"], 1) << "a resumed run must know with how many threads it ran";
}

TEST_F(Threads, TheOptionStandsForTheKeysOfTheJob) {
  if (usable_cores() < 2) GTEST_SKIP() << "needs two cores";
  small_model();
  const std::string job = small_job("job.json");
  const Finished two = fulcrum({"run", job, "--output-dir", path("two"), "--threads", "2"});
  ASSERT_EQ(two.code, 0) << two.err;
  EXPECT_THAT(two.err, Not(HasSubstr("asks for")));
  EXPECT_EQ(config_of("two")["threads"], 2);
  EXPECT_EQ(config_of("two")["rollout_threads"], 2);
  // What ran with two does not go on with one: its bits could differ.
  const Finished one = fulcrum({"run", job, "--output-dir", path("two"), "--set", "max_steps=3"});
  EXPECT_THAT(one.err, HasSubstr("'threads'"));
  EXPECT_NE(one.code, 0);
}

TEST_F(Threads, ALearnersOptionIsThatOfItsJobs) {
  if (usable_cores() < 2) GTEST_SKIP() << "needs two cores";
  const std::string job_file = rollout_job({{"max_steps", 1}});
  const auto l = learner({"--threads", "2"});
  const auto w = worker("one");
  const std::string id = submit(job_file);
  ASSERT_EQ(job("watch", id).code, 0) << l->err();
  EXPECT_EQ(config_of("state/runs/" + id)["threads"], 2);
}

TEST_F(Threads, DoctorSaysHowManyCoresAreUsableAndWhy) {
  const OneCore one;
  const Finished f = fulcrum({"doctor", "-o", "json"});
  const Json checks = parse_json(f.out).value();
  for (const Json& check : checks) {
    if (check["check"] != "usable cores") continue;
    EXPECT_THAT(check["value"].get<std::string>(), ::testing::StartsWith("1: "));
    return;
  }
  FAIL() << f.out;
}

}  // namespace
}  // namespace fulcrum::testing
