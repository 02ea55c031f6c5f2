#include "engine/rpc/metrics_endpoint.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "engine/jobs/store.h"
#include "engine/rpc/server.h"
#include "engine/rpc/worker_service.h"
#include "tests/support/http.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace ::fulcrum::testing;

class TwoWorkers final : public WorkerHub {
 public:
  Result<int64_t> joined(const v1::Register&, std::shared_ptr<WorkerLink>) override {
    return unavailable("full");
  }
  Status received(int64_t, v1::WorkerMessage) override { return ok_status(); }
  void left(int64_t) override {}
  std::vector<v1::WorkerInfo> workers() const override { return {}; }
  std::map<std::string, int64_t> counters() const override {
    return {{"workers_connected", 2}, {"results_accepted", 12}};
  }
};

class MetricsEndpointTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<MetricsEndpoint>> start(MetricsEndpointOptions options = {.listen = "127.0.0.1:0"}) {
    TRY(endpoint, MetricsEndpoint::start(options));
    endpoint->show(*store_, hub_);
    return endpoint;
  }
  // A job that has done `step` steps.
  Job running(int64_t step, const Json& metrics) {
    Job job = *store_->create({"n", "{}", ""});
    job = *store_->move(job.id, job.revision, JobState::kValidatingFiles, "");
    job = *store_->move(job.id, job.revision, JobState::kRunning, "");
    EXPECT_TRUE(store_->record_metrics(job.id, job.epoch, step, metrics).ok());
    EXPECT_TRUE(store_->progress(job.id, job.epoch, step, 20).ok());
    return job;
  }

  TempFolder folder_;
  TwoWorkers hub_;
  std::unique_ptr<JobStore> store_ = std::move(JobStore::open(folder_.path())).value();
};

TEST_F(MetricsEndpointTest, ShowsTheFleetTheJobsByStateAndTheProgramItself) {
  ASSERT_TRUE(store_->create({"waits", "{}", ""}).ok());
  const auto endpoint = start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  const std::string page = http_get((*endpoint)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_THAT(page, HasSubstr("# TYPE fulcrum_workers_connected gauge\nfulcrum_workers_connected 2\n"));
  EXPECT_THAT(
      page, HasSubstr("# TYPE fulcrum_results_accepted_total counter\nfulcrum_results_accepted_total 12\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_jobs{state=\"queued\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_jobs{state=\"failed\"} 0\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_build_info{version=\"" FULCRUM_VERSION "\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_uptime_seconds "));
}

TEST_F(MetricsEndpointTest, ShowsTheLastNumbersOfTheRunningJobAndOfNoOther) {
  const auto endpoint = start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  const Job job = running(3, {{"loss", 0.25}, {"rewards/math/mean", 1e-9}, {"words", "no number"}});
  const std::string page = http_get((*endpoint)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("fulcrum_job_step{job=\"" + job.id + "\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_job_max_steps{job=\"" + job.id + "\"} 20\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_metric{job=\"" + job.id + "\",name=\"loss\"} 0.25\n"));
  EXPECT_THAT(page, HasSubstr("fulcrum_metric{job=\"" + job.id + "\",name=\"rewards/math/mean\"} 1"));
  EXPECT_THAT(page, Not(HasSubstr("words")));

  ASSERT_TRUE(store_->record_metrics(job.id, job.epoch, 4, {{"loss", 0.5}}).ok());
  ASSERT_TRUE(store_->progress(job.id, job.epoch, 4, 20).ok());
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), HasSubstr("name=\"loss\"} 0.5\n"));

  const Job now = *store_->get(job.id);
  ASSERT_TRUE(store_->move(now.id, now.revision, JobState::kFailed, "enough").ok());
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), Not(HasSubstr("fulcrum_metric{")));
}

TEST_F(MetricsEndpointTest, ANameCannotWriteLinesOfItsOwn) {
  const auto endpoint = start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  running(1, {{"a\"} 1\nfulcrum_jobs{state=\"lies", 1.0}});
  const std::string page = http_get((*endpoint)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr(R"(name="a\"} 1\nfulcrum_jobs{state=\"lies"})"));
  EXPECT_THAT(page, Not(HasSubstr("\nfulcrum_jobs{state=\"lies")));
}

TEST_F(MetricsEndpointTest, AnswersNothingElseAndGoesOnAfterNonsense) {
  const auto endpoint = start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  EXPECT_THAT(http_get((*endpoint)->address(), "/"), HasSubstr(" 404 "));
  EXPECT_THAT(http_get((*endpoint)->address(), "/../../etc/passwd"), Not(HasSubstr("root:")));
  EXPECT_THAT(http((*endpoint)->address(), "\x01\x02 nonsense\r\n\r\n"), Not(HasSubstr("200 OK")));
  const std::string ranges = "GET /metrics HTTP/1.1\r\nRange: bytes=" + std::string(8000, '1');
  (void)http((*endpoint)->address(), ranges + "-\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(http((*endpoint)->address(), "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n\r\n"),
              Not(HasSubstr("200 OK")));
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), HasSubstr("200 OK"));
}

TEST_F(MetricsEndpointTest, ListensOffTheLoopbackOnlyWhenAsked) {
  EXPECT_EQ(start({.listen = "0.0.0.0:0"}).status().code(), Code::kInvalidArgument);
  const auto endpoint = start({.listen = "0.0.0.0:0", .other_machines = true});
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), HasSubstr("200 OK"));
}

TEST_F(MetricsEndpointTest, SaysThatThereIsNothingYetBeforeItIsToldWhatToShow) {
  const auto endpoint = MetricsEndpoint::start({.listen = "127.0.0.1:0"});
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), HasSubstr(" 503 "));
  (*endpoint)->show(*store_, hub_);
  EXPECT_THAT(http_get((*endpoint)->address(), "/metrics"), HasSubstr("200 OK"));
}

TEST_F(MetricsEndpointTest, StopsInTimeThoughAReaderHangs) {
  auto endpoint = start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  const int silent = connect_to_port((*endpoint)->address());
  (void)http_get((*endpoint)->address(), "/metrics");  // so it was accepted, and holds a thread
  const Instant asked = system_clock().now();
  endpoint->reset();
  EXPECT_LT(seconds(system_clock().now() - asked), 4.0);
  ::close(silent);
}

TEST_F(MetricsEndpointTest, SaysThatItCannotListen) {
  const auto first = start();
  ASSERT_TRUE(first.ok()) << first.status().message();
  const Status second = start({.listen = (*first)->address()}).status();
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr((*first)->address()));
  EXPECT_EQ(start({.listen = "9090"}).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
