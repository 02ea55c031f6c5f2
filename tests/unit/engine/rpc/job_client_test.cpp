#include "engine/rpc/job_client.h"

#include <gmock/gmock.h>

#include "tests/support/rpc_test.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace ::fulcrum::testing;

// A learner that says what the test wants.
class ScriptedLearner final : public v1::JobService::Service {
 public:
  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest* request, v1::Job* out) override {
    submitted.push_back(*request);
    *out = job;
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest*, v1::Job* out) override {
    *out = job;
    return error;
  }
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::JobEvent>* out) override {
    asked_from.push_back(request->from_number());
    if (events.empty()) return grpc::Status::OK;
    out->Write(events.front());
    events.erase(events.begin());
    return {grpc::StatusCode::UNAVAILABLE, "going down"};
  }

  v1::Job job;
  grpc::Status error;
  std::vector<v1::JobEvent> events;  // one a stream, which then breaks
  std::vector<v1::SubmitRequest> submitted;
  std::vector<int64_t> asked_from;
};

class JobClientTest : public ::testing::Test {
 protected:
  JobClientTest() {
    learner_.job.set_id("job-000001");
    learner_.job.set_state(v1::JOB_STATE_RUNNING);
  }
  JobClient client(Duration patience = std::chrono::seconds(10)) {
    return JobClient(connect_to(server_->address()), patience);
  }
  static v1::JobEvent event(int64_t number) {
    v1::JobEvent wire;
    wire.set_number(number);
    wire.set_level("info");
    wire.set_type("message");
    wire.set_message("m");
    return wire;
  }

  ScriptedLearner learner_;
  std::unique_ptr<RpcServer> server_ = serve({&learner_});
};

TEST_F(JobClientTest, EverySubmissionHasARequestIdOfItsOwnUnlessItBringsOne) {
  ASSERT_TRUE(client().submit({"a", "{}", ""}).ok());
  ASSERT_TRUE(client().submit({"a", "{}", ""}).ok());
  ASSERT_TRUE(client().submit({"a\xff", "{}", "mine"}).ok());
  EXPECT_FALSE(learner_.submitted[0].request_id().empty());
  EXPECT_NE(learner_.submitted[0].request_id(), learner_.submitted[1].request_id());
  EXPECT_EQ(learner_.submitted[2].request_id(), "mine");
  EXPECT_EQ(learner_.submitted[2].name(), "a\xEF\xBF\xBD") << "bytes that are no UTF-8 do not stop the call";
}

TEST_F(JobClientTest, AStreamThatBreaksGoesOnWithTheNextEvent) {
  learner_.events = {event(4), event(5), event(6)};
  std::vector<int64_t> seen;
  const Status end = client().watch("job-000001", 4, {}, [&](const Event& e) {
    seen.push_back(e.number);
    return true;
  });
  EXPECT_TRUE(end.ok()) << end.message();
  EXPECT_THAT(seen, ::testing::ElementsAre(4, 5, 6));
  EXPECT_THAT(learner_.asked_from, ::testing::ElementsAre(4, 5, 6, 7));
}

TEST_F(JobClientTest, ALearnerOfAnotherAgeIsAnErrorNotAWrongJob) {
  learner_.job.set_state(static_cast<v1::JobState>(77));
  EXPECT_FALSE(client().get("job-000001").ok());
  v1::JobEvent bad = event(1);
  bad.set_level("terrible");
  learner_.events = {bad};
  EXPECT_FALSE(client().watch("job-000001", 1, {}, [](const Event&) { return true; }).ok());
}

TEST_F(JobClientTest, AnErrorIsOneLineThatDrivesNoTerminal) {
  learner_.error = {grpc::StatusCode::NOT_FOUND, "no such job\n\x1b[2J"};
  const Status status = client().get("job-000001").status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("no such job"));
  EXPECT_THAT(status.message(), Not(HasSubstr("\n")));
  EXPECT_THAT(status.message(), Not(HasSubstr("\x1b")));
}

TEST_F(JobClientTest, ALearnerThatStaysAwayIsNamedAndGivenUpAfterThePatience) {
  const std::string address = server_->address();
  JobClient client(connect_to(address), std::chrono::milliseconds(200));
  server_.reset();
  const Status get = client.get("job-000001").status();
  EXPECT_EQ(get.code(), Code::kUnavailable);
  EXPECT_THAT(get.message(), HasSubstr(address));
  const Instant asked = system_clock().now();
  const Status watch = client.watch("job-000001", 1, {}, [](const Event&) { return true; });
  EXPECT_EQ(watch.code(), Code::kUnavailable);
  EXPECT_THAT(watch.message(), HasSubstr("is it running"));
  EXPECT_LT(seconds(system_clock().now() - asked), 5.0);
}

}  // namespace
}  // namespace fulcrum
