#include "rollout/rpc/fleet.h"

#include <gmock/gmock.h>

#include <limits>

#include "engine/rpc/convert.h"
#include "tests/support/process.h"
#include "tests/unit/rollout/rpc/fleet_harness.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace ::fulcrum::testing;

void expect_the_right_groups(const Result<std::vector<RolloutGroup>>& groups, size_t count) {
  ASSERT_TRUE(groups.ok()) << groups.status().message();
  ASSERT_EQ(groups->size(), count);
  for (size_t i = 0; i < count; ++i) {
    const RolloutRequest r = request(static_cast<int64_t>(i));
    const RolloutGroup& group = (*groups)[i];
    EXPECT_EQ(group.index, r.index);
    EXPECT_EQ(group.version, kVersion);
    EXPECT_EQ(group.prompt.row, r.prompt.row);
    EXPECT_EQ(group.prompt.columns, r.prompt.columns);
    ASSERT_EQ(group.completions.size(), 2u);
    for (int64_t g = 0; g < 2; ++g) {
      const Completion &got = group.completions[static_cast<size_t>(g)], want = completion_for(r, g);
      EXPECT_EQ(got.ids, want.ids);
      EXPECT_EQ(got.logps, want.logps);
      EXPECT_EQ(got.text, want.text);
      EXPECT_EQ(got.finish, want.finish);
    }
  }
}

std::future<Result<std::vector<RolloutGroup>>> generating(const std::shared_ptr<GrpcRollout>& job,
                                                          int64_t count, std::stop_token stop = {}) {
  return std::async(std::launch::async,
                    [job, count, stop] { return job->generate(requests(count), kVersion, stop); });
}

TEST(Fleet, ThreeWorkersAnswerABatchOnceInTheOrderOfItsRequests) {
  Learner learner;
  FakeModels models[3];
  const auto job = begin(learner.fleet);
  RunningWorker a(models[0], worker_options(learner.server->address(), "a"));
  RunningWorker b(models[1], worker_options(learner.server->address(), "b"));
  RunningWorker c(models[2], worker_options(learner.server->address(), "c"));
  expect_the_right_groups(job->generate(requests(50), kVersion, {}), 50);
  EXPECT_EQ(models[0].groups + models[1].groups + models[2].groups, 50);
  EXPECT_EQ(learner.fleet.counters().at("results_accepted"), 50);
}

TEST(Fleet, OneWorkerAnswersABatchLargerThanItMayHoldInTheOrderOfItsRequests) {
  Learner learner;
  FakeModels models;
  const auto job = begin(learner.fleet);
  RunningWorker only(models, worker_options(learner.server->address()));
  expect_the_right_groups(job->generate(requests(50), kVersion, {}), 50);
  EXPECT_EQ(models.groups, 50);
}

TEST(Fleet, WeightsAndTokenizerReachTheWorkerAndAreKeptThere) {
  Learner learner;
  FakeModels models;
  const auto job = begin(learner.fleet);
  RunningWorker worker(models, worker_options(learner.server->address()));
  expect_the_right_groups(job->generate(requests(2), kVersion, {}), 2);
  expect_the_right_groups(job->generate(requests(3), kVersion, {}), 3);
  EXPECT_EQ(models.made, 1) << "the same weights are not fetched twice";
  EXPECT_EQ(models.weights_hash, content_hash(tiny_weights()->tensors));
  EXPECT_EQ(models.tokenizer.files[0].second, "{}");
  EXPECT_EQ(models.tokenizer.hash, "hash-of-t");
}

TEST(Fleet, AVersionThatWasNeverPublishedOrIsNoLongerKeptIsAnError) {
  Learner learner;
  FleetJobOptions options = job_options();
  options.kept_versions = 2;
  const auto job = begin(learner.fleet, options);
  EXPECT_EQ(job->generate(requests(1), {1, 6}, {}).status().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(job->publish(tiny_weights({1, 6})).ok());
  ASSERT_TRUE(job->publish(tiny_weights({1, 7})).ok());
  EXPECT_EQ(job->generate(requests(1), kVersion, {}).status().code(), Code::kFailedPrecondition);
}

TEST(Fleet, AWorkerThatDiesInTheMiddleLosesNothing) {
  Learner learner;
  FakeModels dying, living;
  dying.stuck = true;
  const auto job = begin(learner.fleet);
  auto groups = generating(job, 6);
  RunningWorker first(dying, worker_options(learner.server->address(), "dying"));
  dying.entered.get_future().wait();
  first.stop();
  RunningWorker second(living, worker_options(learner.server->address(), "living"));
  expect_the_right_groups(groups.get(), 6);
  EXPECT_EQ(living.groups, 6);
}

TEST(Fleet, WhatAWorkerSentBeforeItVanishedCountsOnlyWhereItWasWhole) {
  Learner learner;
  FakeModels models;
  const auto job = begin(learner.fleet);
  auto groups = generating(job, 3);
  {
    RawWorker vanishing(learner.server->address());
    const std::vector<v1::Lease> leases = vanishing.enlist("vanishing");
    ASSERT_EQ(leases.size(), 3u);
    vanishing.send(answer_to(leases[0], 0));
    vanishing.send(answer_to(leases[0], 1));  // a whole group
    vanishing.send(answer_to(leases[1], 0));  // half of one
    ASSERT_TRUE(eventually([&] { return learner.fleet.counters().at("results_accepted") == 1; }));
    vanishing.vanish();
  }
  RunningWorker other(models, worker_options(learner.server->address(), "other"));
  expect_the_right_groups(groups.get(), 3);
  EXPECT_EQ(models.groups, 2) << "the whole group is not drawn again";
  EXPECT_EQ(learner.fleet.counters().at("results_accepted"), 3);
}

TEST(Fleet, WaitsForWorkersAndSaysSo) {
  Learner learner;
  FakeModels models;
  std::vector<bool> told;
  std::promise<void> waiting;
  FleetJobOptions options = job_options();
  options.on_waiting = [&](bool now) {
    told.push_back(now);
    if (now) waiting.set_value();
  };
  const auto job = begin(learner.fleet, options);
  auto groups = generating(job, 2);
  waiting.get_future().wait();
  RunningWorker worker(models, worker_options(learner.server->address()));
  expect_the_right_groups(groups.get(), 2);
  EXPECT_THAT(told, ElementsAre(true, false));
}

TEST(Fleet, AStopRequestEndsTheBatchAndTheWorkerIsFreeForTheNext) {
  Learner learner;
  FakeModels models;
  models.stuck = true;
  const auto job = begin(learner.fleet);
  RunningWorker worker(models, worker_options(learner.server->address()));
  std::stop_source stop;
  auto groups = generating(job, 3, stop.get_token());
  models.entered.get_future().wait();
  const Instant asked = system_clock().now();
  stop.request_stop();
  EXPECT_EQ(groups.get().status().code(), Code::kCancelled);
  EXPECT_LT(seconds(system_clock().now() - asked), 2.0);
  expect_the_right_groups(job->generate(requests(3), kVersion, {}), 3);
}

TEST(Fleet, AWorkerWithOtherBitsIsRefusedInWords) {
  Learner learner;
  const auto job = begin(learner.fleet);
  RawWorker worker(learner.server->address());
  worker.hello("odd", "other bits");
  const grpc::Status end = worker.end();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(end.error_message(), HasSubstr("other bits"));
  EXPECT_EQ(learner.fleet.counters().at("workers_refused"), 1);
}

TEST(Fleet, ABatchAtWhichEveryWorkerFailsEndsWithTheReason) {
  Learner learner;
  FakeModels a, b;
  a.failures_first = b.failures_first = 1'000'000;
  std::vector<std::string> told;
  FleetJobOptions options = job_options();
  options.on_failure = [&](const std::string& what) { told.push_back(what); };
  const auto job = begin(learner.fleet, options);
  RunningWorker one(a, worker_options(learner.server->address(), "a"));
  RunningWorker two(b, worker_options(learner.server->address(), "b"));
  const auto groups = job->generate(requests(3), kVersion, {});
  EXPECT_EQ(groups.status().code(), Code::kDataLoss);
  EXPECT_THAT(groups.status().message(), HasSubstr("this model is not for me"));
  // Meanwhile each of them was told of once.
  ASSERT_FALSE(told.empty());
  EXPECT_LE(told.size(), 2u);
  EXPECT_THAT(told[0], HasSubstr("': this model is not for me; it tries again, and the job ends where"));
  a.failures_first = 0;
  expect_the_right_groups(job->generate(requests(3), kVersion, {}), 3);  // nothing of it is left
}

TEST(Fleet, AWorkerThatAlwaysFailsCostsNothingBesideOneThatWorks) {
  Learner learner;
  FakeModels good, bad;
  good.stuck = true;
  bad.failures_first = 1'000'000;
  const auto job = begin(learner.fleet);
  RunningWorker a(good, worker_options(learner.server->address(), "good"));
  auto groups = generating(job, 6);
  good.entered.get_future().wait();
  RunningWorker b(bad, worker_options(learner.server->address(), "bad"));
  EXPECT_TRUE(eventually([&] { return bad.refused_to_make > 4; }));
  RunningWorker other(good, worker_options(learner.server->address(), "other"));
  EXPECT_TRUE(eventually([&] {
    const auto there = learner.fleet.workers();
    return std::any_of(there.begin(), there.end(), [](const auto& w) { return w.name() == "other"; });
  }));
  a.stop();
  expect_the_right_groups(groups.get(), 6);
}

TEST(Fleet, WhereOrderIsFreeAWorkerMayHaveOtherBits) {
  Learner learner;
  FakeModels models;
  FleetJobOptions options = job_options();
  options.deterministic = false;
  const auto job = begin(learner.fleet, options);
  RolloutWorkerOptions other = worker_options(learner.server->address());
  other.fingerprint = "other bits";
  RunningWorker worker(models, other);
  expect_the_right_groups(job->generate(requests(2), kVersion, {}), 2);
}

TEST(Fleet, AWorkerOfTheJobBeforeThatHasOtherBitsIsSentAwayInWords) {
  Learner learner;
  RawWorker worker(learner.server->address());
  worker.hello("odd", "other bits");
  ASSERT_TRUE(worker.receive().has_registered()) << "between jobs nobody knows which bits are wanted";
  const auto job = begin(learner.fleet);
  const grpc::Status end = worker.end();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(end.error_message(), HasSubstr("other bits"));
}

TEST(Fleet, AWorkerOfTheJobBeforeStaysUnlessItsBitsDiffer) {
  Learner learner;
  FakeModels models;
  auto first = begin(learner.fleet);
  RunningWorker worker(models, worker_options(learner.server->address()));
  expect_the_right_groups(first->generate(requests(2), kVersion, {}), 2);
  EXPECT_EQ(learner.fleet.begin_job(job_options()).status().code(), Code::kFailedPrecondition);
  first.reset();
  const auto second = begin(learner.fleet);
  expect_the_right_groups(second->generate(requests(2), kVersion, {}), 2);
  EXPECT_EQ(learner.fleet.counters().at("workers_joined"), 1);
  EXPECT_EQ(models.made, 2) << "the second job has its own weights, though of the same version";
}

TEST(Fleet, AResultOfTheJobBeforeDoesNotCount) {
  Learner learner;
  auto first = begin(learner.fleet);
  std::stop_source stop;
  auto groups = generating(first, 1, stop.get_token());
  RawWorker worker(learner.server->address());
  const std::vector<v1::Lease> old = worker.enlist();
  ASSERT_EQ(old.size(), 1u);
  stop.request_stop();
  EXPECT_FALSE(groups.get().ok());
  EXPECT_THAT(worker.receive().cancel().fences(), ElementsAre(old[0].fence()));
  first.reset();
  const auto second = begin(learner.fleet);
  groups = generating(second, 1);
  const v1::LearnerMessage message = worker.receive();
  ASSERT_EQ(message.leases().leases_size(), 1);
  const v1::Lease& lease = message.leases().leases(0);
  EXPECT_NE(lease.fence(), old[0].fence());
  EXPECT_NE(lease.weights_id(), old[0].weights_id());
  worker.send(answer_to(old[0], 0));
  worker.send(answer_to(old[0], 1));
  worker.send(answer_to(lease, 0));
  worker.send(answer_to(lease, 1));
  expect_the_right_groups(groups.get(), 1);
  EXPECT_EQ(learner.fleet.counters().at("results_fenced"), 2);
}

TEST(Fleet, ASilentWorkerLosesItsLeasesToAnother) {
  FakeClock clock;
  Learner learner(clock);
  FakeModels models;
  const auto job = begin(learner.fleet);
  auto groups = generating(job, 2);
  RawWorker silent(learner.server->address());
  ASSERT_EQ(silent.enlist().size(), 2u);
  clock.advance(std::chrono::seconds(16));
  EXPECT_EQ(silent.end().error_code(), grpc::StatusCode::UNAVAILABLE);
  RunningWorker worker(models, worker_options(learner.server->address()));
  expect_the_right_groups(groups.get(), 2);
}

TEST(Fleet, AWorkerThatLivesButNeverFinishesLosesItsLeaseToOneThatDoes) {
  FakeClock clock;
  Learner learner(clock);
  FakeModels models;
  FleetJobOptions options = job_options();
  options.lease = std::chrono::seconds(10);
  const auto job = begin(learner.fleet, options);
  auto groups = generating(job, 1);
  RawWorker slow(learner.server->address());
  const std::vector<v1::Lease> leases = slow.enlist("slow");
  ASSERT_EQ(leases.size(), 1u);
  RunningWorker worker(models, worker_options(learner.server->address()));
  ASSERT_TRUE(eventually([&] { return learner.fleet.workers().size() == 2; }));
  clock.advance(std::chrono::seconds(11));
  EXPECT_THAT(slow.receive().cancel().fences(), ElementsAre(leases[0].fence()));
  expect_the_right_groups(groups.get(), 1);
  slow.send(answer_to(leases[0], 0));
  slow.send(answer_to(leases[0], 1));
  EXPECT_TRUE(eventually([&] { return learner.fleet.counters().at("results_fenced") == 2; }));
  EXPECT_EQ(learner.fleet.counters().at("results_accepted"), 1);
  std::stop_source stop;
  groups = generating(job, 2, stop.get_token());
  EXPECT_EQ(slow.receive().leases().leases_size(), 1) << "the next batch tries it again";
  stop.request_stop();
  EXPECT_FALSE(groups.get().ok());
}

TEST(Fleet, AHeartbeatKeepsALease) {
  FakeClock clock;
  Learner learner(clock);
  const auto job = begin(learner.fleet);
  auto groups = generating(job, 1);
  RawWorker worker(learner.server->address());
  const std::vector<v1::Lease> leases = worker.enlist();
  ASSERT_EQ(leases.size(), 1u);
  for (int i = 0; i < 4; ++i) {
    v1::WorkerMessage beat;
    beat.mutable_heartbeat()->set_weights_id(i + 1);
    ASSERT_TRUE(worker.send(beat));
    while (learner.fleet.workers()[0].weights_id() != i + 1) std::this_thread::yield();
    clock.advance(std::chrono::seconds(10));
  }
  worker.send(answer_to(leases[0], 1));
  worker.send(answer_to(leases[0], 0));
  expect_the_right_groups(groups.get(), 1);
}

TEST(Fleet, BadResultsAreRefusedCountedAndCostTheWorkerItsPlace) {
  using Spoil = std::function<void(v1::CompletionResult&)>;
  const std::vector<std::pair<std::string, Spoil>> spoilers = {
      {"NaN", [](auto& r) { r.set_logps(0, std::numeric_limits<float>::quiet_NaN()); }},
      {"positive log-prob", [](auto& r) { r.set_logps(0, 0.5f); }},
      {"token outside", [](auto& r) { r.set_ids(0, 64); }},
      {"negative token", [](auto& r) { r.set_ids(0, -1); }},
      {"fewer log-probs", [](auto& r) { r.mutable_logps()->RemoveLast(); }},
      {"too long",
       [](auto& r) {
         for (int i = 0; i < 9; ++i) r.add_ids(1), r.add_logps(-1);
       }},
      {"empty", [](auto& r) { r.clear_ids(), r.clear_logps(); }},
      {"other version", [](auto& r) { r.mutable_version()->set_step(4); }},
      {"generation out of range", [](auto& r) { r.set_generation(2); }},
      {"negative generation", [](auto& r) { r.set_generation(-1); }},
      {"unknown finish", [](auto& r) { r.set_finish(static_cast<v1::FinishReason>(9)); }},
      {"huge text", [](auto& r) { r.set_text(std::string(100'000, 'x')); }},
      {"text of other tokens", [](auto& r) { r.set_text("c0.1"); }},
  };
  FleetJobOptions options = job_options();
  options.text_of = spelled;
  for (const auto& [what, spoil] : spoilers) {
    SCOPED_TRACE(what);
    Learner learner;
    const auto job = begin(learner.fleet, options);
    auto groups = generating(job, 1);
    RawWorker liar(learner.server->address());
    std::vector<v1::Lease> leases = liar.enlist("liar");
    while (liar.alive() && !leases.empty()) {
      v1::WorkerMessage bad = answer_to(leases[0], 0);
      spoil(*bad.mutable_completion());
      liar.send(bad);
      liar.send(answer_to(leases[0], 1));  // good, but of a group that is not
      const v1::LearnerMessage next = liar.receive();
      leases.assign(next.leases().leases().begin(), next.leases().leases().end());
    }
    const grpc::Status end = liar.end();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(end.error_message(), Not(HasSubstr("0 completions"))) << "the worker is told what was wrong";
    EXPECT_EQ(learner.fleet.counters().at("results_invalid"), 3);
    RawWorker again(learner.server->address());
    again.hello("liar");
    EXPECT_EQ(again.end().error_code(), grpc::StatusCode::PERMISSION_DENIED);
    FakeModels models;
    RunningWorker honest(models, worker_options(learner.server->address(), "honest"));
    expect_the_right_groups(groups.get(), 1);
  }
}

// A tokenizer that takes its time: the first text waits until the test goes on.
struct SlowTokenizer {
  std::promise<void> begun, go_on;
  std::atomic<bool> first = true;

  FleetJobOptions options() {
    FleetJobOptions out = job_options();
    out.text_of = [this](std::span<const TokenId> ids) {
      if (first.exchange(false)) {
        begun.set_value();
        go_on.get_future().wait();
      }
      return spelled(ids);
    };
    return out;
  }
};

TEST(Fleet, AnswersOthersWhileItDecodesAText) {
  SlowTokenizer tokenizer;
  Learner learner;
  const auto job = begin(learner.fleet, tokenizer.options());
  auto groups = generating(job, 1);
  RawWorker worker(learner.server->address());
  const std::vector<v1::Lease> leases = worker.enlist();
  ASSERT_EQ(leases.size(), 1u);
  worker.send(answer_to(leases[0], 0));
  tokenizer.begun.get_future().wait();
  auto asked = std::async(std::launch::async, [&] { return learner.fleet.counters(); });
  const bool answered = asked.wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  tokenizer.go_on.set_value();
  EXPECT_TRUE(answered);
  worker.send(answer_to(leases[0], 1));
  expect_the_right_groups(groups.get(), 1);
}

TEST(Fleet, ACompletionWhoseLeaseIsTakenBackWhileItIsDecodedDoesNotCount) {
  SlowTokenizer tokenizer;
  Learner learner;
  const auto job = begin(learner.fleet, tokenizer.options());
  std::stop_source stop;
  auto groups = generating(job, 1, stop.get_token());
  RawWorker worker(learner.server->address());
  const std::vector<v1::Lease> leases = worker.enlist();
  ASSERT_EQ(leases.size(), 1u);
  worker.send(answer_to(leases[0], 0));
  tokenizer.begun.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(groups.get().status().code(), Code::kCancelled);
  tokenizer.go_on.set_value();
  worker.hello("again");  // which ends the stream, after what came before it
  EXPECT_EQ(worker.end().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(learner.fleet.counters().at("results_fenced"), 1);
}

TEST(Fleet, UnknownAndForeignLeasesAreDroppedAndCounted) {
  Learner learner;
  const auto job = begin(learner.fleet);
  auto groups = generating(job, 2);
  RawWorker worker(learner.server->address());
  const std::vector<v1::Lease> leases = worker.enlist();
  ASSERT_EQ(leases.size(), 2u);
  v1::WorkerMessage unknown = answer_to(leases[0], 0), foreign = answer_to(leases[0], 0);
  unknown.mutable_completion()->set_fence(12345);
  foreign.mutable_completion()->set_item(leases[1].item());
  worker.send(unknown);
  worker.send(foreign);
  for (const v1::Lease& lease : leases) {
    worker.send(answer_to(lease, 0));
    worker.send(answer_to(lease, 1));
    worker.send(answer_to(lease, 1));  // a duplicate of what was accepted
  }
  expect_the_right_groups(groups.get(), 2);
  EXPECT_GE(learner.fleet.counters().at("results_fenced"), 3);
  EXPECT_EQ(learner.fleet.counters().at("results_accepted"), 2);
}

TEST(Fleet, AStreamThatDoesNotKeepTheProtocolIsEnded) {
  Learner learner;
  const auto ends = [&](const std::vector<v1::WorkerMessage>& messages, bool registered) {
    RawWorker worker(learner.server->address());
    if (registered) worker.hello();
    for (const v1::WorkerMessage& m : messages) worker.send(m);
    return worker.end().error_code();
  };
  v1::WorkerMessage beat, hello, nameless;
  beat.mutable_heartbeat();
  hello.mutable_register_()->set_name("twice");
  hello.mutable_register_()->set_capacity(1);
  nameless.mutable_register_()->set_capacity(1);
  v1::WorkerMessage early;
  early.mutable_completion()->add_ids(1);
  EXPECT_EQ(ends({beat}, false), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ends({early}, false), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ends({hello}, true), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ends({v1::WorkerMessage()}, true), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(learner.fleet.counters().at("messages_refused"), 2);
  EXPECT_EQ(ends({nameless}, false), grpc::StatusCode::INVALID_ARGUMENT);
  hello.mutable_register_()->set_capacity(0);
  EXPECT_EQ(ends({hello}, false), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace fulcrum
