// Data-parallel runs: processes with torchrun's variables give what one process gives, go on from each
// other's checkpoints, and end, naming the rank, when one of them dies or hangs.
#include "tests/support/rank_processes.h"
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;
using Ranks = std::vector<std::unique_ptr<Process>>;

class DataParallel : public Services {
 protected:
  Ranks run_on(int size, const std::string& job, const std::string& folder,
               const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {program("fulcrum"), "run", job, "--output-dir", path(folder)};
    command.insert(command.end(), more.begin(), more.end());
    return start_ranks(size, command, path(folder + std::to_string(++runs_)));
  }
  void expect_end(const Ranks& ranks, int code) const {
    for (size_t r = 0; r < ranks.size(); ++r)
      EXPECT_EQ(ranks[r]->wait(seconds(100)), code) << "rank " << r << ": " << ranks[r]->err();
  }

  // A job that lasts until it is disturbed.
  std::string endless_job() {
    return rollout_job({{"max_steps", 100000}, {"save_steps", 5}, {"log_completions", false}});
  }
  int64_t lines(const std::string& folder) const {
    const std::string text = slurp(path(folder + "/metrics.jsonl"));
    return std::count(text.begin(), text.end(), '\n');
  }
  void wait_for_lines(const std::string& folder, int64_t count, const Ranks& ranks) const {
    ASSERT_TRUE(eventually([&] { return lines(folder) >= count || !ranks[0]->running(); }));
    ASSERT_TRUE(ranks[0]->running()) << ranks[0]->err();
  }

  // Two ranks; `number` is sent to `victim` in the middle of the run. The other one ends by the deadline, and
  // names it; the run goes on with the same bits.
  void lose(int victim, int number, const std::string& named) {
    const std::string job = endless_job();
    const Ranks ranks = run_on(2, job, "out", {"--ddp-timeout", "10"});
    wait_for_lines("out", 7, ranks);
    ranks[static_cast<size_t>(victim)]->signal(number);
    Process& other = *ranks[static_cast<size_t>(1 - victim)];
    EXPECT_EQ(other.wait(seconds(60)), 5) << other.err();
    EXPECT_NE(other.err().find(named), std::string::npos) << other.err();
    ranks[static_cast<size_t>(victim)]->signal(SIGKILL);
    ranks[static_cast<size_t>(victim)]->wait(seconds(10));
    const int64_t done = lines("out");
    expect_goes_on(job);
    if (victim == 0) return;
    // Rank 0 has kept what it had.
    const std::string kept = "resumed from checkpoint-" + std::to_string(done) + "\"";
    EXPECT_NE(slurp(path("out/events.jsonl")).find(kept), std::string::npos) << kept;
  }
  void expect_goes_on(const std::string& job) {
    const Ranks again = run_on(2, job, "out");
    const std::string events = path("out/events.jsonl");
    EXPECT_TRUE(eventually([&] {
      return slurp(events).find("resumed from checkpoint-") != std::string::npos;
    })) << again[0]->err();
    const int64_t before = lines("out");
    wait_for_lines("out", before + 10, again);
    EXPECT_EQ(slurp(events).find("is not the run before it"), std::string::npos);
  }

  int runs_ = 0;
};

TEST_F(DataParallel, OnlyRank0SpeaksAndAllEndWell) {
  const std::string job = rollout_job({{"max_steps", 2}});
  const Ranks ranks = run_on(2, job, "out");
  expect_end(ranks, 0);
  EXPECT_NE(ranks[0]->out().find("checkpoint-2"), std::string::npos);
  EXPECT_EQ(ranks[1]->out(), "");
  EXPECT_EQ(ranks[1]->err(), "");
}

TEST_F(DataParallel, AJobThatCannotStartEndsOnEveryRankAndIsSaidOnce) {
  const Ranks unknown = run_on(2, rollout_job({{"learning_rat", 1}}), "out");
  expect_end(unknown, 2);
  EXPECT_NE(unknown[0]->err().find("learning_rat"), std::string::npos);
  EXPECT_EQ(unknown[1]->err(), "");
  const Ranks no_model = run_on(2, rollout_job({{"model_name_or_path", "nowhere"}}), "out");
  expect_end(no_model, 3);
}

TEST_F(DataParallel, AVariableThatIsMissingIsNamed) {
  const Finished f =
      run({"/usr/bin/env", "WORLD_SIZE=2", "RANK=0", program("fulcrum"), "run", "job.json"}, path("log"));
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.err.find("MASTER_ADDR"), std::string::npos) << f.err;
}

// One process and two, in turn, over the same run folder.
TEST_F(DataParallel, OneProcessAndTwoGoOnFromEachOthersCheckpoints) {
  const std::string job = rollout_job({{"learning_rate", 1e-4},
                                       {"beta", 0.05},
                                       {"sync_ref_model", true},
                                       {"ref_model_sync_steps", 3},
                                       {"max_steps", 40}});
  const std::vector<std::string> expected = alone(job);
  for (const int first : {1, 2}) {
    const std::string folder = "first" + std::to_string(first);
    int size = first;
    for (const int64_t until : {5, 15, 25}) {
      const Ranks ranks = run_on(size, job, folder);
      wait_for_lines(folder, until, ranks);
      for (const auto& rank : ranks) rank->signal(SIGTERM);
      expect_end(ranks, 130);
      size = 3 - size;
    }
    const Ranks last = run_on(size, job, folder);
    expect_end(last, 0);
    expect_close_metrics(numbers(path(folder + "/metrics.jsonl")), expected, 1e-6);
    const std::string model = "/checkpoints/checkpoint-40/model.safetensors";
    EXPECT_LT(largest_difference(path(folder + model), path("alone" + model)), 1e-6);
  }
}

// What only rank 0 has: the reference's log-probs, computed in advance.
TEST_F(DataParallel, AReferenceThatRank0AloneHasServesAllRanks) {
  std::string pairs;
  for (int i = 10; i < 40; ++i) {
    const std::string prompt = std::to_string(i) + "+1=", good = std::to_string(i + 1);
    pairs += dump_json({{"prompt", prompt}, {"chosen", good}, {"rejected", "7"}}) + "\n";
  }
  write("pairs.jsonl", pairs);
  const std::string job = rollout_job({{"trainer", "dpo"},
                                       {"train_files", {"pairs.jsonl"}},
                                       {"val_files", {"pairs.jsonl"}},
                                       {"eval_steps", 2},
                                       {"max_steps", 4},
                                       {"learning_rate", 1e-4},
                                       {"precompute_ref_log_probs", true},
                                       {"num_generations", nullptr},
                                       {"max_completion_length", nullptr},
                                       {"reward_funcs", nullptr}});
  const std::vector<std::string> expected = alone(job);
  expect_end(run_on(2, job, "out"), 0);
  expect_close_metrics(numbers(path("out/metrics.jsonl")), expected, 1e-6);
}

TEST_F(DataParallel, ASignalToOneRankStopsAllAndTheRunGoesOn) {
  const std::string job = endless_job();
  for (const int victim : {0, 1}) {
    const Ranks ranks = run_on(2, job, "out");
    wait_for_lines("out", lines("out") + 3, ranks);
    ranks[static_cast<size_t>(victim)]->signal(SIGTERM);
    expect_end(ranks, 130);
    EXPECT_NE(ranks[0]->err().find("run the same command again"), std::string::npos) << ranks[0]->err();
  }
  expect_goes_on(job);
}

TEST_F(DataParallel, AFollowerThatIsKilledIsNamed) { lose(1, SIGKILL, "rank 1 of 2 ended"); }
TEST_F(DataParallel, AFollowerThatHangsIsNamedByTheDeadline) {
  lose(1, SIGSTOP, "rank 1 of 2 did not come to");
}
TEST_F(DataParallel, ALeaderThatIsKilledIsNamed) { lose(0, SIGKILL, "rank 1: rank 0 of 2 has ended"); }
TEST_F(DataParallel, ALeaderThatHangsIsNamedByTheDeadline) {
  lose(0, SIGSTOP, "rank 1: rank 0 of 2 did not come to");
}

// A learner that serves jobs, on two ranks.
class DataParallelLearner : public DataParallel {
 protected:
  Ranks start_learner() {
    const Ranks::size_type number = static_cast<size_t>(++runs_);
    Ranks out = start_ranks(2,
                            {program("fulcrum"), "learner", "--state", path("state"), "--listen",
                             "127.0.0.1:" + std::to_string(port_), "--ddp-timeout", "20"},
                            path("learner" + std::to_string(number)));
    EXPECT_TRUE(eventually([&] { return out[0]->out().find("listens on ") != std::string::npos; }))
        << out[0]->err();
    return out;
  }
  std::unique_ptr<Process> start_worker() const {
    return std::make_unique<Process>(
        std::vector<std::string>{program("fulcrum"), "rollout", "--learner", address(), "--name", "one"},
        path("worker"));
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  Finished ask(const std::string& verb, const std::string& id) {
    return fulcrum({"job", verb, id, "--learner", address()});
  }
  std::string send(const std::string& file) {
    const std::string printed = out({"job", "submit", file, "--learner", address()});
    return printed.substr(0, printed.find('\n'));
  }

  const int64_t port_ = free_port();
};

TEST_F(DataParallelLearner, DoesJobsOneAfterTheOtherAndGoesOnAfterARankIsLost) {
  const std::string job = rollout_job({{"learning_rate", 1e-4}, {"max_steps", 40}});
  const std::vector<std::string> expected = alone(job);
  Ranks ranks = start_learner();
  const auto worker = start_worker();
  for (int i = 0; i < 2; ++i) {
    const std::string id = send(job);
    const Finished watched = ask("watch", id);
    EXPECT_EQ(watched.code, 0) << watched.err;
    expect_close_metrics(numbers(metrics_of(id)), expected, 1e-6);
  }
  const std::string id = send(job);
  wait_for_checkpoint(id, 8);
  ranks[1]->signal(SIGKILL);
  EXPECT_EQ(ranks[0]->wait(seconds(60)), 5) << ranks[0]->err();
  EXPECT_NE(ranks[0]->err().find("rank 1 of 2 ended"), std::string::npos) << ranks[0]->err();
  ranks = start_learner();
  const Finished watched = ask("watch", id);
  EXPECT_EQ(watched.code, 0) << watched.err;
  expect_close_metrics(numbers(metrics_of(id)), expected, 1e-6);
}

}  // namespace
}  // namespace fulcrum::testing
