#include "engine/rpc/job_service.h"

#include <gmock/gmock.h>

#include <future>
#include <semaphore>

#include "engine/jobs/checkpoint.h"
#include "engine/rpc/job_client.h"
#include "engine/rpc/monitor_service.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

class NoWorkers final : public WorkerHub {
 public:
  Result<int64_t> joined(const v1::Register&, std::shared_ptr<WorkerLink>) override {
    return unavailable("none");
  }
  Status received(int64_t, v1::WorkerMessage) override { return ok_status(); }
  void left(int64_t) override {}
  std::vector<v1::WorkerInfo> workers() const override {
    v1::WorkerInfo info;
    info.set_name("w1");
    info.set_leases(3);
    return {info};
  }
  std::map<std::string, int64_t> counters() const override { return {{"results_accepted", 12}}; }
};

// A learner whose jobs take their steps one at a time, when the test says so.
class JobServiceTest : public ::testing::Test {
 protected:
  void SetUp() override { open("127.0.0.1:0"); }
  void TearDown() override { close(); }

  void open(const std::string& address) {
    store_ = std::move(JobStore::open(folder_.path() / "store")).value();
    runner_ = std::move(JobRunner::start(*store_, [this](const Job& job, JobControl& c) {
                return run(job, c);
              })).value();
    JobServiceParts parts{*store_, *runner_,
                          [](const std::string& config) {
                            return config.starts_with("{") ? ok_status()
                                                           : invalid_argument("line 1: not a job file");
                          },
                          [this](const Job& job) -> Result<Path> { return folder_.path() / job.id; }};
    jobs_ = std::make_unique<JobServiceServer>(parts);
    monitor_ = std::make_unique<MonitorServiceServer>(*store_, workers_);
    ServerOptions options;
    options.listen = address;
    std::vector<grpc::Service*> services{jobs_.get(), monitor_.get()};
    server_ = std::move(RpcServer::start(options, services)).value();
  }
  void close() {
    steps_.release(100);
    server_.reset();
    runner_.reset();
    jobs_.reset();
    monitor_.reset();
    store_.reset();
  }

  // Ten steps; each waits for the test, or for a stop.
  Status run(const Job& job, JobControl& control) {
    for (int64_t step = job.step; step < 10; ++step) {
      TRY_DO(control.point([] { return ok_status(); }));
      while (!steps_.try_acquire_for(std::chrono::milliseconds(1))) {
        if (control.stop().stop_requested()) return control.stop_reason();
      }
      TRY_DO(control.progress(step + 1, 10));
      TRY_DO(control.metrics(step + 1, {{"loss", 1.0 / static_cast<double>(step + 1)}, {"reward", 2.0}}));
    }
    return ok_status();
  }

  JobClient client() { return JobClient(connect_to(server_->address())); }
  Job submitted(const std::string& name = "job") {
    auto job = client().submit({name, "{\"a\": 1}", ""});
    EXPECT_TRUE(job.ok()) << job.status().message();
    return *job;
  }
  // Watches from `from` to the end of the job.
  std::vector<Event> watched(const std::string& id, int64_t from) {
    std::vector<Event> events;
    const Status end = client().watch(id, from, {}, [&](const Event& e) {
      events.push_back(e);
      return true;
    });
    EXPECT_TRUE(end.ok()) << end.message();
    return events;
  }

  TempFolder folder_;
  NoWorkers workers_;
  std::counting_semaphore<1000> steps_{0};
  std::atomic<bool> some_set_ = false;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<JobRunner> runner_;
  std::unique_ptr<JobServiceServer> jobs_;
  std::unique_ptr<MonitorServiceServer> monitor_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(JobServiceTest, SubmitsOnceHoweverOftenACallIsRepeated) {
  const auto first = client().submit({"n", "{}", "my-request"});
  const auto again = client().submit({"n", "{}", "my-request"});
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first->id, again->id);
  EXPECT_EQ(client().submit({"n", "{\"other\":1}", "my-request"}).status().code(), Code::kAlreadyExists);
  EXPECT_EQ(client().list({})->jobs.size(), 1u);
}

TEST_F(JobServiceTest, RefusesAJobFileThatIsNone) {
  const Status status = client().submit({"n", "nonsense", ""}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("line 1"));
  EXPECT_EQ(client().submit({"n", "{" + std::string(2 << 20, ' '), ""}).status().code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(client().list({})->jobs.empty());
}

TEST_F(JobServiceTest, GetsAndListsWhatWasSubmitted) {
  const Job a = submitted("a"), b = submitted("b"), c = submitted("c");
  const auto got = client().get(b.id);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->name, "b");
  EXPECT_EQ(got->config, "{\"a\": 1}");
  EXPECT_EQ(client().get("job-999999").status().code(), Code::kNotFound);
  const auto page = client().list({.states = {}, .page_size = 2, .page_token = ""});
  ASSERT_EQ(page->jobs.size(), 2u);
  EXPECT_EQ(page->jobs[0].id, c.id);
  EXPECT_EQ(page->jobs[1].id, b.id);
  const auto rest = client().list({.states = {}, .page_size = 2, .page_token = page->next_page_token});
  ASSERT_EQ(rest->jobs.size(), 1u);
  EXPECT_EQ(rest->jobs[0].id, a.id);
  EXPECT_EQ(rest->next_page_token, "");
  EXPECT_TRUE(client().list({.states = {JobState::kFailed}})->jobs.empty());
}

TEST_F(JobServiceTest, AWatchSeesEveryEventOnceAndEndsWithTheJob) {
  const Job job = submitted();
  steps_.release(10);
  const std::vector<Event> events = watched(job.id, 1);
  ASSERT_GE(events.size(), 12u);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].number, static_cast<int64_t>(i) + 1);
  EXPECT_EQ(events.back().type, "state");
  EXPECT_EQ(client().get(job.id)->state, JobState::kSucceeded);
}

TEST_F(JobServiceTest, AWatchGoesOnFromAnyEventNumber) {
  const Job job = submitted();
  steps_.release(10);
  const std::vector<Event> all = watched(job.id, 0), rest = watched(job.id, 5);
  ASSERT_EQ(rest.size(), all.size() - 4);
  EXPECT_EQ(rest.front().number, 5);
  EXPECT_EQ(rest.front().message, all[4].message);
  EXPECT_EQ(client().watch(job.id, -1, {}, [](auto&) { return true; }).code(), Code::kInvalidArgument);
  EXPECT_EQ(client().watch("job-000099", 1, {}, [](auto&) { return true; }).code(), Code::kNotFound);
}

TEST_F(JobServiceTest, AWatchLivesThroughARestartOfTheLearner) {
  const Job job = submitted();
  const std::string address = server_->address();
  steps_.release(3);
  std::vector<int64_t> numbers;
  std::promise<void> some;
  JobClient watcher(connect_to(address));
  auto watching = std::async(std::launch::async, [&] {
    return watcher.watch(job.id, 1, {}, [&](const Event& e) {
      numbers.push_back(e.number);
      if (e.type == "metrics" && numbers.size() < 1000 && e.data.is_object() && !some_set_.exchange(true))
        some.set_value();
      return true;
    });
  });
  some.get_future().wait();
  server_.reset();
  runner_.reset();
  close();
  open(address);
  steps_.release(20);
  const Status end = watching.get();
  EXPECT_TRUE(end.ok()) << end.message();
  for (size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], static_cast<int64_t>(i) + 1);
}

TEST_F(JobServiceTest, AWatcherMayLeaveAndMayBeStopped) {
  const Job job = submitted();
  EXPECT_TRUE(client().watch(job.id, 1, {}, [](auto&) { return false; }).ok());
  std::stop_source stop;
  std::promise<void> one;
  bool told = false;
  auto watching = std::async(std::launch::async, [&] {
    return client().watch(job.id, 1, stop.get_token(), [&](auto&) {
      if (!std::exchange(told, true)) one.set_value();
      return true;
    });
  });
  one.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(watching.get().code(), Code::kCancelled);
}

TEST_F(JobServiceTest, PausesResumesCancelsAndDeletes) {
  const Job running = submitted(), waiting = submitted();
  EXPECT_EQ(client().pause(waiting.id)->state, JobState::kPaused);
  EXPECT_EQ(client().resume(waiting.id)->state, JobState::kQueued);
  EXPECT_EQ(client().remove(waiting.id).code(), Code::kFailedPrecondition);
  EXPECT_EQ(client().cancel(waiting.id)->state, JobState::kCancelled);
  EXPECT_TRUE(client().remove(waiting.id).ok());
  EXPECT_EQ(client().get(waiting.id).status().code(), Code::kNotFound);
  EXPECT_EQ(client().cancel(running.id)->state, JobState::kCancelled);
  EXPECT_EQ(watched(running.id, 1).back().type, "state");
  EXPECT_EQ(client().resume(running.id).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(client().pause("nonsense").status().ok(), false);
}

TEST_F(JobServiceTest, ListsCheckpointsAndTheBest) {
  const Job job = submitted();
  auto checkpoints =
      CheckpointStore::open(folder_.path() / job.id / "checkpoints", {.keep_last = 5, .build = "test"});
  ASSERT_TRUE(checkpoints.ok()) << checkpoints.status().message();
  for (const int64_t step : {10, 20}) {
    const auto written = checkpoints->write(
        step, Json::object(), [](const Path& into) { return write_file_atomic(into / "x", "y"); });
    ASSERT_TRUE(written.ok()) << written.status().message();
  }
  ASSERT_TRUE(checkpoints->mark_best({10, "eval_reward", 0.5}).ok());
  const auto listed = client().checkpoints(job.id);
  ASSERT_TRUE(listed.ok()) << listed.status().message();
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ((*listed)[0].step(), 10);
  EXPECT_TRUE((*listed)[0].best());
  EXPECT_FALSE((*listed)[1].best());
  EXPECT_EQ((*listed)[1].error(), "");
  EXPECT_EQ(client().checkpoints("job-000099").status().code(), Code::kNotFound);
}

TEST_F(JobServiceTest, MetricsComeByNameAndRangeOfSteps) {
  const Job job = submitted();
  steps_.release(10);
  (void)watched(job.id, 1);
  const auto rows = client().metrics(job.id, {"loss"}, 3, 5);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].step, 3);
  EXPECT_EQ((*rows)[0].metrics, (Json{{"loss", 1.0 / 3.0}}));
  EXPECT_EQ(client().metrics(job.id, {}, 0, std::nullopt)->size(), 10u);
  EXPECT_TRUE(client().metrics(job.id, {"none"}, 0, std::nullopt)->empty());
  EXPECT_TRUE(client().metrics(job.id, {}, 0, 0)->empty());
  EXPECT_EQ(client().metrics(job.id, {}, 5, 4).status().code(), Code::kInvalidArgument);
}

TEST_F(JobServiceTest, StatsAndWorkersTellOfTheLearner) {
  (void)submitted();
  const auto stats = client().stats();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->version(), FULCRUM_VERSION);
  EXPECT_EQ(stats->counters().at("results_accepted"), 12);
  int64_t jobs = 0;
  for (const auto& [state, count] : stats->jobs_by_state()) jobs += count;
  EXPECT_EQ(jobs, 1);
  EXPECT_EQ(client().workers()->at(0).leases(), 3);
}

TEST_F(JobServiceTest, TheLogIsTheLastLinesAndThenWhatFollows) {
  const Job job = submitted();
  steps_.release(10);
  const size_t events = watched(job.id, 1).size();
  const auto tail = [&](int32_t lines, bool follow) {
    std::vector<std::string> text;
    EXPECT_TRUE(client()
                    .tail_log(job.id, lines, follow, {},
                              [&](const std::string& line) {
                                text.push_back(line);
                                return true;
                              })
                    .ok());
    return text;
  };
  EXPECT_EQ(tail(0, false).size(), events);
  EXPECT_EQ(tail(2, false).size(), 2u);
  EXPECT_EQ(tail(2, true).size(), 2u) << "an ended job has nothing to follow";
  EXPECT_THAT(tail(1, false)[0], HasSubstr("Z info "));
}

TEST(LogText, IsOneSafeLine) {
  Event event;
  event.created_at = 0;
  event.level = EventLevel::kWarn;
  event.message = "a\nb\x1b[2J";
  EXPECT_EQ(log_text(event), "1970-01-01T00:00:00Z warn a\\nb\\x1B[2J");
}

}  // namespace
}  // namespace fulcrum
