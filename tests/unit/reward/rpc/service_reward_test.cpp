#include "reward/rpc/service_reward.h"

#include <gmock/gmock.h>

#include <limits>

#include "engine/rpc/reactor.h"
#include "reward/rpc/reward_service.h"
#include "tests/support/rpc_test.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

// Scores the length of the completion plus the row's `bonus`; a row without one is a bad reference.
class LengthAndBonus final : public RewardFunction {
 public:
  std::string_view name() const override { return "bonus"; }
  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline,
                             std::stop_token) const override {
    std::vector<Verdict> verdicts;
    for (const RewardRequest& r : requests) {
      const auto bonus = get_double(*r.columns, "bonus");
      if (!bonus.ok()) {
        verdicts.push_back({std::nullopt, VerdictKind::kBadReference, "no bonus", {}});
      } else {
        verdicts.push_back({static_cast<double>(r.completion.size()) + *bonus,
                            VerdictKind::kScored,
                            "fine",
                            {{"bonus", *bonus}}});
      }
    }
    return verdicts;
  }
};

// Answers every batch with what the test wants.
class Scripted final : public v1::RewardService::CallbackService {
 public:
  std::function<Result<v1::ScoreResponse>(const v1::ScoreRequest&, std::stop_token)> script;
  std::atomic<int> calls = 0;
  CallThreads threads{4};
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext*, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override {
    ++calls;
    return answer(threads, response,
                  [this, request](std::stop_token stop) { return script(*request, stop); });
  }
};

ServiceReward client_of(const RpcServer& server, ServiceRewardOptions options = {}) {
  options.first_backoff = std::chrono::milliseconds(1);
  return ServiceReward(connect_to(server.address()), std::move(options));
}

std::vector<Verdict> score(const ServiceReward& reward, std::span<const RewardRequest> requests) {
  return reward.score(requests, Deadline::never(), {});
}

TEST(ServiceReward, BringsPromptCompletionAndColumnsAndTakesVerdictsBackInOrder) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  const Json with{{"bonus", 0.5}}, without{{"other", 1}};
  const std::vector<RewardRequest> requests = {{"p", "four", &with}, {"p", "x", &without}, {"p", "", &with}};
  const auto verdicts = score(client_of(*server), requests);
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(verdicts[0].kind, VerdictKind::kScored);
  EXPECT_EQ(verdicts[0].score, 4.5);
  EXPECT_EQ(verdicts[0].parts.at("bonus"), 0.5);
  EXPECT_EQ(verdicts[1].kind, VerdictKind::kBadReference);
  EXPECT_FALSE(verdicts[1].score.has_value());
  EXPECT_EQ(verdicts[2].score, 0.5);
}

TEST(ServiceReward, SendsACompletionThatEndsInsideACharacter) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  const Json row{{"bonus", 0.0}};
  const std::vector<RewardRequest> requests = {{"p", "ab\xE2\x82", &row}};
  EXPECT_EQ(score(client_of(*server), requests)[0].kind, VerdictKind::kScored);
}

TEST(ServiceReward, SplitsIntoBatches) {
  Scripted service;
  std::vector<int> sizes;
  service.script = [&](const v1::ScoreRequest& request, auto) {
    sizes.push_back(request.items_size());
    v1::ScoreResponse response;
    for (const auto& item : request.items()) response.add_results()->set_score(std::stod(item.completion()));
    return response;
  };
  const auto server = serve({&service});
  std::vector<std::string> texts;
  for (int i = 0; i < 10; ++i) texts.push_back(std::to_string(i));
  std::vector<RewardRequest> requests;
  for (const std::string& text : texts) requests.push_back({"", text});
  const auto verdicts = score(client_of(*server, {.max_batch = 4}), requests);
  ASSERT_EQ(verdicts.size(), 10u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(verdicts[static_cast<size_t>(i)].score, i);
  EXPECT_THAT(sizes, ::testing::ElementsAre(4, 4, 2));
}

TEST(ServiceReward, KeepsMessagesUnderTheLimitAndFailsOnlyWhatCannotBeSent) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  const Json row{{"bonus", 0.0}};
  const std::string large(size_t{1500} << 10, 'x'), huge(size_t{5} << 20, 'x');
  const std::vector<RewardRequest> requests = {
      {"", large, &row}, {"", large, &row}, {"", huge, &row}, {"", "y", &row}};
  const auto verdicts = score(client_of(*server), requests);
  ASSERT_EQ(verdicts.size(), 4u);
  EXPECT_EQ(verdicts[0].score, static_cast<double>(large.size()));
  EXPECT_EQ(verdicts[1].score, static_cast<double>(large.size()));
  EXPECT_EQ(verdicts[2].kind, VerdictKind::kFailed);
  EXPECT_EQ(verdicts[3].score, 1.0);
}

TEST(ServiceReward, ALyingServiceGivesFailedVerdicts) {
  Scripted service;
  const auto server = serve({&service});
  const ServiceReward reward = client_of(*server);
  const std::vector<RewardRequest> two = {{"", "a"}, {"", "b"}};

  service.script = [](auto&, auto) {
    v1::ScoreResponse one;
    one.add_results()->set_score(1);
    return one;
  };
  for (const Verdict& v : score(reward, two)) {
    EXPECT_EQ(v.kind, VerdictKind::kFailed);
    EXPECT_FALSE(v.score.has_value());
    EXPECT_THAT(v.reason, HasSubstr("got 1"));
  }
  service.script = [](auto&, auto) {
    v1::ScoreResponse odd;
    odd.add_results()->set_score(std::numeric_limits<double>::quiet_NaN());
    odd.add_results()->set_verdict(v1::VERDICT_SCORED);  // and no score
    return odd;
  };
  for (const Verdict& v : score(reward, two)) {
    EXPECT_EQ(v.kind, VerdictKind::kFailed);
    EXPECT_FALSE(v.score.has_value());
  }
  service.script = [](auto&, auto) {
    v1::ScoreResponse mixed;
    mixed.add_results()->set_score(std::numeric_limits<double>::infinity());
    v1::RewardResult& failed = *mixed.add_results();
    failed.set_verdict(v1::VERDICT_FAILED);
    failed.set_score(1);
    failed.set_reason("\x1b[2J\nowned");
    return mixed;
  };
  const auto verdicts = score(reward, two);
  EXPECT_EQ(verdicts[0].kind, VerdictKind::kFailed);
  EXPECT_FALSE(verdicts[1].score.has_value());
  EXPECT_THAT(verdicts[1].reason, HasSubstr("\\x1B")) << "reasons are printable";
}

TEST(ServiceReward, TriesAgainOnlyWhileTheServiceIsUnreachable) {
  Scripted service;
  const auto server = serve({&service});
  const ServiceReward reward = client_of(*server, {.attempts = 4});
  const std::vector<RewardRequest> one = {{"", "a"}};
  service.script = [&](auto&, auto) -> Result<v1::ScoreResponse> {
    if (service.calls < 3) return unavailable("warming up");
    v1::ScoreResponse response;
    response.add_results()->set_score(7);
    return response;
  };
  EXPECT_EQ(score(reward, one)[0].score, 7.0);
  EXPECT_EQ(service.calls, 3);
  service.calls = 0;
  service.script = [](auto&, auto) -> Result<v1::ScoreResponse> { return invalid_argument("no"); };
  EXPECT_EQ(score(reward, one)[0].kind, VerdictKind::kFailed);
  EXPECT_EQ(service.calls, 1);
  service.calls = 0;
  service.script = [](auto&, auto) -> Result<v1::ScoreResponse> { return unavailable("gone"); };
  EXPECT_EQ(score(reward, one)[0].kind, VerdictKind::kFailed);
  EXPECT_EQ(service.calls, 4);
}

TEST(ServiceReward, ReturnsTimeoutVerdictsWhenStoppedOrLate) {
  Scripted service;
  std::promise<void> entered;
  service.script = [&](auto&, std::stop_token stop) -> Result<v1::ScoreResponse> {
    if (service.calls == 1) entered.set_value();
    std::promise<void> stopped;
    const std::stop_callback on_stop(stop, [&] { stopped.set_value(); });
    stopped.get_future().wait();
    return cancelled();
  };
  const auto server = serve({&service});
  const ServiceReward reward = client_of(*server);
  const std::vector<RewardRequest> one = {{"", "a"}};
  std::stop_source stop;
  auto call =
      std::async(std::launch::async, [&] { return reward.score(one, Deadline::never(), stop.get_token()); });
  entered.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(call.get()[0].kind, VerdictKind::kTimeout);
  EXPECT_EQ(reward.score(one, Deadline::in(std::chrono::milliseconds(30)), {})[0].kind,
            VerdictKind::kTimeout);
}

TEST(RewardService, ARowThatCannotBeReadIsAFailedVerdictAndTheOthersAreJudged) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  const Connection connection = connect_to(server->address());
  v1::ScoreRequest request;
  request.add_items()->set_columns_json("{broken");
  request.add_items()->set_columns_json("[1]");
  request.add_items()->set_columns_json(R"({"bonus": 2})");
  v1::ScoreResponse response;
  grpc::ClientContext context;
  prepare(connection, context);
  ASSERT_TRUE(v1::RewardService::NewStub(connection.channel())->Score(&context, request, &response).ok());
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(response.results(0).verdict(), v1::VERDICT_FAILED);
  EXPECT_EQ(response.results(1).verdict(), v1::VERDICT_FAILED);
  EXPECT_EQ(response.results(2).score(), 2.0);
}

TEST(RewardService, RefusesARewardItDoesNotServe) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  const std::vector<RewardRequest> one = {{"", "a"}};
  const Verdict verdict = score(client_of(*server, {.reward = "other"}), one)[0];
  EXPECT_EQ(verdict.kind, VerdictKind::kFailed);
  EXPECT_THAT(verdict.reason, HasSubstr("'bonus'"));
}

TEST(ServiceReward, IsMadeFromTheConfigItem) {
  RewardServiceServer service(std::make_shared<LengthAndBonus>());
  const auto server = serve({&service});
  RewardConfig config;
  config.name = "service";
  config.address = server->address();
  config.weight = 2;
  const auto sum = make_rewards({config}, service_reward_factory());
  ASSERT_TRUE(sum.ok()) << sum.status().message();
  const Json row{{"bonus", 1.0}};
  const std::vector<RewardRequest> one = {{"", "abc", &row}};
  EXPECT_EQ((*sum)->score(one, Deadline::never(), {})[0].score, 8.0);
  config.address = "nowhere";
  EXPECT_EQ(make_rewards({config}, service_reward_factory()).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
