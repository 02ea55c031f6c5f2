#include "engine/rpc/monitor_service.h"

#include <gmock/gmock.h>

#include "engine/rpc/job_client.h"
#include "engine/rpc/limits.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

class NoWorkers final : public WorkerHub {
 public:
  Result<int64_t> joined(const v1::Register&, std::shared_ptr<WorkerLink>) override {
    return unavailable("none");
  }
  Status received(int64_t, v1::WorkerMessage) override { return ok_status(); }
  void left(int64_t) override {}
  std::vector<v1::WorkerInfo> workers() const override { return {}; }
  std::map<std::string, int64_t> counters() const override { return {}; }
};

// A store that no runner touches, and the service over it.
class MonitorServiceTest : public ::testing::Test {
 protected:
  Job running() {
    Job job = *store_->create({"n", "{}", ""});
    job = *store_->move(job.id, job.revision, JobState::kValidatingFiles, "");
    return *store_->move(job.id, job.revision, JobState::kRunning, "");
  }
  void record(const Job& job, int64_t step, const Json& metrics) {
    EXPECT_TRUE(store_->record_metrics(job.id, job.epoch, step, metrics).ok());
  }
  JobClient client() { return JobClient(connect_to(server_->address())); }
  Result<v1::GetMetricsResponse> page(const v1::GetMetricsRequest& request) {
    const Connection connection = connect_to(server_->address());
    grpc::ClientContext context;
    prepare(connection, context);
    v1::GetMetricsResponse response;
    const auto stub = v1::MonitorService::NewStub(connection.channel());
    TRY_DO(connection.status(stub->GetMetrics(&context, request, &response)));
    return response;
  }
  Status tail(const std::string& id, int32_t lines, bool follow, std::stop_token stop,
              const std::function<bool(const std::string&)>& take) {
    return client().tail_log(id, lines, follow, std::move(stop), take);
  }

  TempFolder folder_;
  NoWorkers workers_;
  std::unique_ptr<JobStore> store_ = std::move(JobStore::open(folder_.path())).value();
  MonitorServiceServer service_{*store_, workers_};
  std::unique_ptr<RpcServer> server_ = serve({&service_});
};

TEST_F(MonitorServiceTest, MetricsLargerThanAMessageComeInPagesThatNobodyNotices) {
  const Job job = running();
  Json wide = Json::object();
  for (int i = 0; i < 2000; ++i) wide["metric/with/a/long/name/" + std::to_string(i)] = 0.5;
  for (int64_t step = 1; step <= 60; ++step) record(job, step, wide);
  v1::GetMetricsRequest request;
  request.set_job_id(job.id);
  const auto first = page(request);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_LT(first->ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  EXPECT_LT(first->rows_size(), 60);
  EXPECT_EQ(first->next_step(), first->rows(first->rows_size() - 1).step() + 1);
  const auto all = client().metrics(job.id, {}, 0, std::nullopt);
  ASSERT_TRUE(all.ok()) << all.status().message();
  ASSERT_EQ(all->size(), 60u);
  for (size_t i = 0; i < 60; ++i) EXPECT_EQ((*all)[i].step, static_cast<int64_t>(i) + 1);
}

TEST_F(MonitorServiceTest, ManyStepsComeInPagesAndARangeEndsWhereItEnds) {
  const Job job = running();
  for (int64_t step = 1; step <= 1005; ++step) record(job, step, {{"loss", 1.0}, {"even", step % 2}});
  EXPECT_EQ(client().metrics(job.id, {}, 0, std::nullopt)->size(), 1005u);
  EXPECT_EQ(client().metrics(job.id, {"loss"}, 1, 1003)->size(), 1003u);
  EXPECT_EQ(client().metrics(job.id, {"loss"}, 1000, 1000)->size(), 1u);
  EXPECT_EQ(client().metrics("job-000099", {}, 0, std::nullopt).status().code(), Code::kNotFound);
}

TEST_F(MonitorServiceTest, StatsCountEveryJobOnce) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_->create({"n", "{}", ""}).ok());
  (void)running();
  const auto stats = client().stats();
  ASSERT_TRUE(stats.ok()) << stats.status().message();
  EXPECT_EQ(stats->jobs_by_state().size(), 2u) << "states without a job are left out";
  EXPECT_EQ(stats->jobs_by_state().at("queued"), 3);
  EXPECT_EQ(stats->jobs_by_state().at("running"), 1);
}

TEST_F(MonitorServiceTest, AFollowedLogShowsWhatComesUntilTheJobEnds) {
  Job job = running();
  std::vector<std::string> lines;
  std::promise<void> began;
  auto following = std::async(std::launch::async, [&] {
    return tail(job.id, 1, true, {}, [&](const std::string& line) {
      lines.push_back(line);
      if (lines.size() == 1) began.set_value();
      return true;
    });
  });
  began.get_future().wait();
  ASSERT_TRUE(store_->append_event(job.id, {.message = "hello \x1b[2J"}).ok());
  job = *store_->get(job.id);
  ASSERT_TRUE(store_->move(job.id, job.revision, JobState::kFailed, "the end").ok());
  const Status end = following.get();
  EXPECT_TRUE(end.ok()) << end.message();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[1], HasSubstr("hello \\x1B[2J")) << "nothing in a log drives a terminal";
  EXPECT_THAT(lines[2], HasSubstr("the end"));
}

TEST_F(MonitorServiceTest, AFollowerMayLeaveAndNonsenseIsRefused) {
  const Job job = running();
  std::stop_source stop;
  const auto ask_to_stop = [&](const std::string&) {
    stop.request_stop();
    return true;
  };
  EXPECT_EQ(tail(job.id, 1, true, stop.get_token(), ask_to_stop).code(), Code::kCancelled);
  const auto none = [](const std::string&) { return true; };
  EXPECT_EQ(tail(job.id, -1, false, {}, none).code(), Code::kInvalidArgument);
  EXPECT_EQ(tail(job.id, 1 << 30, false, {}, none).code(), Code::kInvalidArgument);
  EXPECT_EQ(tail("job-000099", 1, false, {}, none).code(), Code::kNotFound);
}

}  // namespace
}  // namespace fulcrum
