#include "engine/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>

#include "engine/core/address.h"
#include "engine/rpc/reactor.h"
#include "fulcrum/v1/reward.grpc.pb.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

// Answers every call with what the test wants.
class Probe final : public v1::RewardService::CallbackService {
 public:
  std::function<Result<v1::ScoreResponse>(std::stop_token)> handler = [](auto) {
    return v1::ScoreResponse();
  };
  CallThreads threads{4};

  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext*, const v1::ScoreRequest*,
                                  v1::ScoreResponse* response) override {
    return answer(threads, response, [this](std::stop_token stop) { return handler(stop); });
  }
};

grpc::Status score(const Connection& connection, const v1::ScoreRequest& request = {}) {
  grpc::ClientContext context;
  prepare(connection, context);
  v1::ScoreResponse response;
  return v1::RewardService::NewStub(connection.channel())->Score(&context, request, &response);
}

Status start_with(ServerOptions options) { return RpcServer::start(options, {}).status(); }

TEST(Address, IsHostAndPort) {
  EXPECT_EQ(parse_address("127.0.0.1:50051")->port, 50051);
  EXPECT_EQ(parse_address("[::1]:7")->host, "::1");
  for (const char* bad : {"", "host", ":1", "::1:5", "host:", "host:x", "host:65536", "host:-1"}) {
    EXPECT_EQ(parse_address(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(Address, OnlyThisMachineIsLoopback) {
  for (const char* host : {"127.0.0.1", "127.255.0.9", "::1", "localhost"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host :
       {"0.0.0.0", "127.evil.example", "127.0.0.1.evil", "10.0.0.1", "::", "localhost.evil", "127.0.0"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

TEST(Server, RefusesToListenOffLoopbackWithoutTlsAndTokens) {
  const TempFolder folder;
  ServerOptions options{.listen = "0.0.0.0:0"};
  EXPECT_EQ(start_with(options).code(), Code::kInvalidArgument);
  options.token_file = write_tokens(folder.path());
  EXPECT_EQ(start_with(options).code(), Code::kInvalidArgument);
  options.token_file.clear();
  options.tls_cert = options.tls_key = folder.path() / "x.pem";
  EXPECT_EQ(start_with(options).code(), Code::kInvalidArgument);
}

TEST(Server, SaysThatThePortIsInUse) {
  const auto first = serve({});
  ServerOptions options;
  options.listen = first->address();
  const Status second = start_with(options);
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr("in use"));
}

// gRPC's own listener never accepts again after a connection that found no descriptor.
TEST(ServerDeathTest, ServesAgainAfterMoreConnectionsThanDescriptors) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        rlimit few{};
        few.rlim_cur = few.rlim_max = 200;
        ::setrlimit(RLIMIT_NOFILE, &few);
        Probe probe;
        const auto server = serve({&probe});
        std::vector<int> burst;
        for (int i = 0; i < 300; ++i) {
          const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
          if (fd < 0) break;
          burst.push_back(fd);
          sockaddr_in to{};
          to.sin_family = AF_INET;
          to.sin_port = htons(static_cast<uint16_t>(server->port()));
          to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
          ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
        }
        for (const int fd : burst) ::close(fd);
        const grpc::Status status = score(connect_to(server->address()));
        std::fprintf(stderr, "%zu connections, then: %s", burst.size(), status.error_message().c_str());
        ::_exit(burst.size() > 60 && status.ok() ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "connections, then: $");
}

TEST(Server, ServesAClientWithoutATokenOnLoopback) {
  Probe probe;
  const auto server = serve({&probe});
  const grpc::Status status = score(connect_to(server->address()));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST(Server, RefusesStrangersAndWrongRolesBeforeTheHandler) {
  const TempFolder folder;
  Probe probe;
  std::atomic<int> calls = 0;
  probe.handler = [&](auto) {
    ++calls;
    return v1::ScoreResponse();
  };
  const auto server = serve({&probe}, {.token_file = write_tokens(folder.path())});
  const auto with = [&](const std::string& token) {
    return score(connect_to(server->address(), write_secret(folder.path() / "mine", token))).error_code();
  };
  EXPECT_EQ(score(connect_to(server->address())).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(with(std::string(40, 'x')), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(with(kWorkerToken.substr(1)), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(with(kViewerToken), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(with(kWorkerToken), grpc::StatusCode::OK);
  EXPECT_EQ(calls, 1);
}

TEST(Server, DeniesAMethodWithoutARow) {
  const auto server = serve({});
  EXPECT_EQ(raw_call(connect_to(server->address()), "/fulcrum.v1.JobService/Destroy", "").status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST(Server, AnswersHealthToAnybody) {
  const TempFolder folder;
  const auto server = serve({}, {.token_file = write_tokens(folder.path())});
  const Connection connection = connect_to(server->address());
  EXPECT_EQ(raw_call(connection, "/grpc.health.v1.Health/Check", "").bytes, "\x08\x01");  // SERVING
  server->set_serving(false);
  EXPECT_EQ(raw_call(connection, "/grpc.health.v1.Health/Check", "").bytes, "\x08\x02");  // NOT_SERVING
}

// As gRPC's health protocol has it: a load balancer may ask for the service it sends calls to.
TEST(Server, AnswersHealthByTheNameOfAService) {
  Probe probe;
  const auto server = serve({&probe});
  const Connection connection = connect_to(server->address());
  const auto check = [&](const std::string& service) {
    const std::string request = std::string("\x0a") + static_cast<char>(service.size()) + service;
    return raw_call(connection, "/grpc.health.v1.Health/Check", request);
  };
  for (const char* service : {"", "fulcrum.v1.RewardService", "grpc.health.v1.Health"})
    EXPECT_EQ(check(service).bytes, "\x08\x01") << service;
  EXPECT_EQ(check("fulcrum.v1.JobService").status.error_code(), grpc::StatusCode::NOT_FOUND)
      << "this server does not have it";
  server->set_serving(false);
  for (const char* service : {"", "fulcrum.v1.RewardService"})
    EXPECT_EQ(check(service).bytes, "\x08\x02") << service;
  server->set_serving(true);
  EXPECT_EQ(check("fulcrum.v1.RewardService").bytes, "\x08\x01");
}

TEST(Server, ReflectionNamesItsServices) {
  Probe probe;
  const auto server = serve({&probe});
  const std::string list_services("\x3a\x00", 2);
  const RawAnswer answer =
      raw_call(connect_to(server->address()),
               "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", list_services);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_THAT(answer.bytes, HasSubstr("fulcrum.v1.RewardService"));
  EXPECT_THAT(answer.bytes, HasSubstr("grpc.health.v1.Health"));
  const std::string file_of_symbol = std::string("\x22\x18") + "fulcrum.v1.RewardService";
  EXPECT_THAT(raw_call(connect_to(server->address()),
                       "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", file_of_symbol)
                  .bytes,
              HasSubstr("reward.proto"));
}

TEST(Server, RefusesAnOversizedMessage) {
  Probe probe;
  const auto server = serve({&probe});
  const std::string huge(size_t{5} << 20, 'x');
  EXPECT_EQ(
      raw_call(connect_to(server->address()), "/fulcrum.v1.RewardService/Score", huge).status.error_code(),
      grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(score(connect_to(server->address())).ok()) << "and goes on serving";
}

TEST(Server, SurvivesBytesThatAreNoMessage) {
  Probe probe;
  const auto server = serve({&probe});
  EXPECT_FALSE(
      raw_call(connect_to(server->address()), "/fulcrum.v1.RewardService/Score", "\xff\xff\xff").status.ok());
  EXPECT_TRUE(score(connect_to(server->address())).ok());
}

TEST(Server, AHandlerThatThrowsIsAnInternalError) {
  Probe probe;
  probe.handler = [](auto) -> Result<v1::ScoreResponse> { throw std::runtime_error("boom"); };
  const auto server = serve({&probe});
  EXPECT_EQ(score(connect_to(server->address())).error_code(), grpc::StatusCode::INTERNAL);
}

TEST(Server, StopsInTimeThoughAHandlerWaits) {
  Probe probe;
  std::promise<void> entered;
  probe.handler = [&](std::stop_token stop) -> Result<v1::ScoreResponse> {
    std::promise<void> stopped;
    const std::stop_callback on_stop(stop, [&] { stopped.set_value(); });
    entered.set_value();
    stopped.get_future().wait();
    return cancelled();
  };
  const auto server = serve({&probe});
  auto call = std::async(std::launch::async, [&] { return score(connect_to(server->address())); });
  entered.get_future().wait();
  server->stop(std::chrono::milliseconds(50));
  EXPECT_FALSE(call.get().ok());
}

TEST(Server, TurnsACallAwayWhenEveryThreadIsBusy) {
  std::promise<void> release;
  CallThreads one(1);
  EXPECT_TRUE(one.run([&] { release.get_future().wait(); }));
  EXPECT_FALSE(one.run([] {}));
  release.set_value();
}

}  // namespace
}  // namespace fulcrum
