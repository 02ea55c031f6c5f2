#include "engine/rpc/worker_service.h"

#include <gmock/gmock.h>

#include "tests/support/process.h"
#include "tests/support/rpc_test.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using namespace ::fulcrum::testing;

// Writes down what the service calls, and answers as the test says.
class Notebook final : public WorkerHub {
 public:
  Result<int64_t> joined(const v1::Register& hello, std::shared_ptr<WorkerLink> link) override {
    const std::lock_guard lock(mutex_);
    if (hello.name() == "stranger") return Status(Code::kPermissionDenied, "not you");
    calls_.push_back("joined " + hello.name());
    link_ = link;
    v1::LearnerMessage welcome;
    welcome.mutable_registered()->set_worker_id(7);
    link->send(welcome);
    return 7;
  }
  Status received(int64_t worker, v1::WorkerMessage message) override {
    const std::lock_guard lock(mutex_);
    calls_.push_back("received " + std::to_string(worker));
    if (message.has_failure()) throw std::runtime_error("boom");
    return message.has_heartbeat() ? ok_status() : unavailable("register again");
  }
  void left(int64_t worker) override {
    const std::lock_guard lock(mutex_);
    calls_.push_back("left " + std::to_string(worker));
  }
  std::vector<v1::WorkerInfo> workers() const override { return {}; }
  std::map<std::string, int64_t> counters() const override { return {}; }

  std::vector<std::string> calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  std::shared_ptr<WorkerLink> link() const {
    const std::lock_guard lock(mutex_);
    return link_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
  std::shared_ptr<WorkerLink> link_;
};

class WorkerServiceTest : public ::testing::Test {
 protected:
  // A stream as a worker opens it.
  struct Stream {
    explicit Stream(const std::string& address)
        : connection(connect_to(address)), stub(v1::WorkerService::NewStub(connection.channel())) {
      prepare(connection, context);
      calls = stub->Work(&context);
    }
    void hello(const std::string& name) {
      v1::WorkerMessage message;
      message.mutable_register_()->set_name(name);
      calls->Write(message);
    }
    void heartbeat() {
      v1::WorkerMessage message;
      message.mutable_heartbeat();
      calls->Write(message);
    }
    grpc::Status end() {
      v1::LearnerMessage message;
      while (calls->Read(&message)) received.push_back(message);
      return calls->Finish();
    }
    Connection connection;
    std::unique_ptr<v1::WorkerService::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::LearnerMessage>> calls;
    std::vector<v1::LearnerMessage> received;
  };

  Notebook hub_;
  WorkerServiceServer service_{hub_};
  std::unique_ptr<RpcServer> server_ = serve({&service_});
};

TEST_F(WorkerServiceTest, AStreamIsJoinedHeardAndLeftOnce) {
  Stream stream(server_->address());
  stream.hello("w");
  stream.heartbeat();
  stream.heartbeat();
  stream.calls->WritesDone();
  EXPECT_TRUE(stream.end().ok());
  ASSERT_EQ(stream.received.size(), 1u);
  EXPECT_EQ(stream.received[0].registered().worker_id(), 7);
  EXPECT_TRUE(eventually([&] { return hub_.calls().size() == 4; }));
  EXPECT_THAT(hub_.calls(), ElementsAre("joined w", "received 7", "received 7", "left 7"));
}

TEST_F(WorkerServiceTest, WhoeverIsNotLetInIsNeverHeardNorMissed) {
  Stream stranger(server_->address()), silent(server_->address());
  stranger.hello("stranger");
  stranger.heartbeat();
  const grpc::Status refused = stranger.end();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.error_message(), "not you");
  silent.heartbeat();
  EXPECT_EQ(silent.end().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(hub_.calls().empty());
}

TEST_F(WorkerServiceTest, WhatTheHubRefusesOrThrowsEndsTheStreamAndNotTheServer) {
  Stream refused(server_->address()), thrown(server_->address());
  refused.hello("w");
  v1::WorkerMessage message;
  message.mutable_completion();
  refused.calls->Write(message);
  EXPECT_EQ(refused.end().error_code(), grpc::StatusCode::UNAVAILABLE);
  thrown.hello("w");
  message.mutable_failure();
  thrown.calls->Write(message);
  EXPECT_EQ(thrown.end().error_code(), grpc::StatusCode::INTERNAL);
  Stream next(server_->address());
  next.hello("w");
  next.calls->WritesDone();
  EXPECT_TRUE(next.end().ok());
}

TEST_F(WorkerServiceTest, ALinkOutlivesItsStreamAndThenDoesNothing) {
  {
    Stream stream(server_->address());
    stream.hello("w");
    ASSERT_TRUE(eventually([&] { return hub_.link() != nullptr; }));
    EXPECT_FALSE(hub_.link()->peer().empty());
    hub_.link()->close(Status(Code::kAborted, "enough"));
    const grpc::Status end = stream.end();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::ABORTED);
    EXPECT_EQ(end.error_message(), "enough");
  }
  ASSERT_TRUE(eventually([&] { return hub_.calls().size() == 2; }));
  hub_.link()->send({});
  hub_.link()->close(ok_status());
  EXPECT_EQ(hub_.calls().back(), "left 7");
}

TEST_F(WorkerServiceTest, MessagesOfTheHubArriveInTheirOrder) {
  Stream stream(server_->address());
  stream.hello("w");
  ASSERT_TRUE(eventually([&] { return hub_.link() != nullptr; }));
  for (uint64_t fence = 1; fence <= 500; ++fence) {
    v1::LearnerMessage message;
    message.mutable_cancel()->add_fences(fence);
    hub_.link()->send(std::move(message));
  }
  v1::LearnerMessage message;
  ASSERT_TRUE(stream.calls->Read(&message));  // the welcome
  for (uint64_t fence = 1; fence <= 500; ++fence) {
    ASSERT_TRUE(stream.calls->Read(&message));
    ASSERT_EQ(message.cancel().fences(0), fence);
  }
  stream.calls->WritesDone();
  EXPECT_TRUE(stream.end().ok());
}

TEST_F(WorkerServiceTest, AWorkerThatDoesNotReadIsLetGo) {
  Stream stream(server_->address());
  stream.hello("w");
  ASSERT_TRUE(eventually([&] { return hub_.link() != nullptr; }));
  v1::LearnerMessage message;
  message.mutable_leases()->add_leases()->mutable_prompt_ids()->Resize(2000, 1);
  for (int i = 0; i < 20'000; ++i) hub_.link()->send(message);  // more than the connection and the queue hold
  EXPECT_EQ(stream.end().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace fulcrum
