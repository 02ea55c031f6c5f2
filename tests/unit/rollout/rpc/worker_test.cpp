#include "rollout/rpc/worker.h"

#include <gmock/gmock.h>

#include "tests/support/test_data.h"
#include "tests/unit/rollout/rpc/fleet_harness.h"

namespace fulcrum {
namespace {

using namespace ::fulcrum::testing;

TEST(Worker, ComesBackToALearnerThatStartsAgain) {
  FakeModels models;
  auto learner = std::make_unique<Learner>();
  const std::string address = learner->server->address();
  RunningWorker worker(models, worker_options(address));
  {
    const auto job = begin(learner->fleet);
    ASSERT_TRUE(job->generate(requests(2), kVersion, {}).ok());
  }
  learner.reset();
  ServerOptions same_port;
  same_port.listen = address;
  Learner again(system_clock(), same_port);
  const auto job = begin(again.fleet);
  const auto groups = job->generate(requests(2), kVersion, {});
  ASSERT_TRUE(groups.ok()) << groups.status().message();
  EXPECT_EQ((*groups)[1].completions[0].text, "c1.0");
  EXPECT_EQ(models.made, 2) << "weights of the learner before are not used";
}

TEST(Worker, WaitsForALearnerThatIsNotThereYet) {
  FakeModels models;
  std::string address;
  {
    const Learner gone;
    address = gone.server->address();
  }
  RunningWorker worker(models, worker_options(address));
  ServerOptions same_port;
  same_port.listen = address;
  Learner learner(system_clock(), same_port);
  const auto job = begin(learner.fleet);
  EXPECT_TRUE(job->generate(requests(1), kVersion, {}).ok());
}

TEST(Worker, StopsAtOnceWhileItWaitsOrGenerates) {
  Learner learner;
  FakeModels models;
  models.stuck = true;
  const auto job = begin(learner.fleet);
  std::stop_source stop;
  auto groups =
      std::async(std::launch::async, [&] { return job->generate(requests(1), kVersion, stop.get_token()); });
  RunningWorker worker(models, worker_options(learner.server->address()));
  models.entered.get_future().wait();
  const Instant asked = system_clock().now();
  worker.stop();
  EXPECT_TRUE(worker.status().ok()) << worker.status().message();
  RunningWorker idle(models, worker_options("127.0.0.1:1", "idle"));
  idle.stop();
  EXPECT_LT(seconds(system_clock().now() - asked), 2.0);
  stop.request_stop();
  EXPECT_FALSE(groups.get().ok());
}

TEST(Worker, OneThatCannotMakeTheModelSaysSoAndTriesAgain) {
  Learner learner;
  FakeModels models;
  models.failures_first = 2;
  const auto job = begin(learner.fleet);
  RunningWorker worker(models, worker_options(learner.server->address()));
  EXPECT_TRUE(job->generate(requests(3), kVersion, {}).ok());
  EXPECT_EQ(models.refused_to_make, 2);
}

TEST(Worker, FetchesEachVersionAndKeepsTheLastTwo) {
  Learner learner;
  FakeModels models;
  const auto job = begin(learner.fleet);
  ASSERT_TRUE(job->publish(tiny_weights({1, 6})).ok());
  RunningWorker worker(models, worker_options(learner.server->address()));
  for (const int64_t step : {5, 6, 5, 6}) {
    ASSERT_TRUE(job->generate(requests(1), {1, step}, {}).ok());
  }
  EXPECT_EQ(models.made, 2);
}

TEST(Worker, ShowsItsTokenAndIsLetInByItOnly) {
  const TempFolder folder;
  ServerOptions options;
  options.token_file = write_tokens(folder.path());
  Learner learner(system_clock(), options);
  FakeModels models;
  const auto job = begin(learner.fleet);
  RawWorker stranger(learner.server->address());
  stranger.hello();
  EXPECT_EQ(stranger.end().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  RolloutWorkerOptions mine = worker_options(learner.server->address());
  mine.learner.token_file = write_secret(folder.path() / "worker", "worker " + kWorkerToken);
  RunningWorker worker(models, mine);
  EXPECT_TRUE(job->generate(requests(2), kVersion, {}).ok());
}

TEST(Worker, RefusesOptionsThatCannotBeUsed) {
  FakeModels models;
  RolloutWorkerOptions options = worker_options("no address");
  EXPECT_EQ(RolloutWorker(options, models.factory()).run({}).code(), Code::kInvalidArgument);
  options = worker_options("127.0.0.1:1");
  options.learner.token_file = "/does/not/exist";
  EXPECT_EQ(RolloutWorker(options, models.factory()).run({}).code(), Code::kNotFound);
}

}  // namespace
}  // namespace fulcrum
