#include "rollout/dispatch/book.h"

#include "tests/unit/rollout/dispatch/dispatch_testing.h"

namespace fulcrum {
namespace {

using namespace std::chrono_literals;
using testing::book_options;
using testing::honest_result;
using testing::kVersion;
using testing::requests_up_to;

struct BookTest : ::testing::Test {
  WorkerId join(const std::string& name, const std::string& fingerprint = "f") {
    const Result<WorkerId> id = book.join(name, fingerprint);
    EXPECT_TRUE(id.ok()) << id.status().message();
    return id.ok() ? *id : 0;
  }
  void begin(int64_t n) { ASSERT_TRUE(book.begin(requests_up_to(n), kVersion).ok()); }
  ResultVerdict answer(WorkerId worker, const Lease& lease) {
    return book.complete(worker, lease.item, lease.fence, honest_result(request_of(lease)));
  }
  // What a worker answers in the end, when the book may have forgotten the request.
  ResultVerdict answer(WorkerId worker, const Lease& lease, const RolloutRequest& request) {
    return book.complete(worker, lease.item, lease.fence, honest_result(request));
  }
  static RolloutRequest request_of(const Lease& lease) { return *lease.request; }
  static RolloutGroup bad(const Lease& lease) {
    RolloutGroup group = honest_result(*lease.request);
    group.completions[0].logps[0] = 1.0f;
    return group;
  }
  FakeClock clock;
  Book book{book_options(), clock};
};

TEST_F(BookTest, ResultsComeInTheOrderOfTheRequestsWhoeverIsFirst) {
  begin(4);
  const WorkerId a = join("a"), b = join("b");
  const auto of_a = book.assign(a, 2), of_b = book.assign(b, 9);
  ASSERT_EQ(of_a.size(), 2u);
  ASSERT_EQ(of_b.size(), 2u);
  EXPECT_EQ(answer(b, of_b[1]).kind, ResultKind::kAccepted);
  EXPECT_EQ(answer(b, of_b[0]).kind, ResultKind::kAccepted);
  EXPECT_EQ(book.take().status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(answer(a, of_a[1]).kind, ResultKind::kAccepted);
  EXPECT_FALSE(book.finished());
  EXPECT_EQ(answer(a, of_a[0]).kind, ResultKind::kAccepted);
  ASSERT_TRUE(book.finished());
  const auto groups = book.take();
  ASSERT_TRUE(groups.ok());
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*groups)[size_t(i)].index, i);
    EXPECT_EQ((*groups)[size_t(i)].prompt.text, "prompt " + std::to_string(i)) << "the learner's own prompt";
    EXPECT_EQ((*groups)[size_t(i)].completions[0].text, std::to_string(i) + "/0");
  }
  EXPECT_FALSE(book.finished()) << "the batch is closed";
}

TEST_F(BookTest, OneBatchAtATimeAndNoRequestTwice) {
  begin(2);
  EXPECT_EQ(book.begin(requests_up_to(2), kVersion).code(), Code::kFailedPrecondition);
  book.cancel_all();
  std::vector<RolloutRequest> twice = requests_up_to(2);
  twice[1].index = 0;
  EXPECT_EQ(book.begin(twice, kVersion).code(), Code::kInvalidArgument);
  twice[1].evaluation = true;
  EXPECT_TRUE(book.begin(twice, kVersion).ok()) << "evaluation draws from streams of its own";
}

TEST_F(BookTest, AnEmptyBatchIsFinishedAtOnce) {
  begin(0);
  ASSERT_TRUE(book.finished());
  EXPECT_TRUE(book.take()->empty());
}

TEST_F(BookTest, AWorkerHoldsNoMoreThanItsCapacity) {
  begin(5);
  const WorkerId a = join("a");
  EXPECT_EQ(book.assign(a, 2).size(), 2u);
  EXPECT_EQ(book.assign(a, 2).size(), 0u);
  const auto third = book.assign(a, 3);
  ASSERT_EQ(third.size(), 1u);
  answer(a, third[0]);
  EXPECT_EQ(book.assign(a, 3).size(), 1u);
  EXPECT_EQ(book.assign(99, 3).size(), 0u) << "not registered";
  EXPECT_EQ(book.counts().waiting, 1);
  EXPECT_EQ(book.counts().leased, 3);
  EXPECT_EQ(book.counts().done, 1);
}

TEST_F(BookTest, TheSameResultTwiceCountsOnce) {
  begin(2);
  const WorkerId a = join("a");
  const Lease lease = book.assign(a, 1)[0];
  const RolloutRequest request = request_of(lease);
  EXPECT_EQ(answer(a, lease).kind, ResultKind::kAccepted);
  EXPECT_EQ(answer(a, lease, request).kind, ResultKind::kDuplicate);
  EXPECT_EQ(book.counts().accepted, 1);
  EXPECT_EQ(book.counts().duplicate, 1);
}

TEST_F(BookTest, WhatALostWorkerHeldGoesFirstToTheNext) {
  begin(4);
  const WorkerId a = join("a"), b = join("b");
  const auto held = book.assign(a, 2);
  book.worker_lost(a);
  const auto next = book.assign(b, 3);
  ASSERT_EQ(next.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(next[i].request->index, static_cast<int64_t>(i));
  EXPECT_EQ(next[0].item, held[0].item) << "the same request has the same name";
  EXPECT_NE(next[0].fence, held[0].fence);
}

TEST_F(BookTest, AWorkerThatCameBackTooLateIsFenced) {
  begin(1);
  const WorkerId a = join("a"), b = join("b");
  const Lease old = book.assign(a, 1)[0];
  const RolloutRequest request = request_of(old);
  clock.advance(16s);
  ASSERT_TRUE(book.heartbeat(b).ok());
  const auto revoked = book.expire();
  ASSERT_EQ(revoked.size(), 1u);
  EXPECT_EQ(revoked[0].worker, a);
  EXPECT_EQ(revoked[0].fence, old.fence);
  EXPECT_EQ(book.heartbeat(a).code(), Code::kNotFound);
  EXPECT_EQ(answer(a, old, request).kind, ResultKind::kFenced);
  const Lease fresh = book.assign(b, 1)[0];
  EXPECT_EQ(book.complete(b, old.item, old.fence, honest_result(request)).kind, ResultKind::kFenced)
      << "another's lease number";
  EXPECT_EQ(answer(b, fresh).kind, ResultKind::kAccepted);
}

TEST_F(BookTest, HeartbeatsAndResultsKeepAWorker) {
  begin(3);
  const WorkerId a = join("a"), b = join("b");
  const auto leases = book.assign(a, 3);
  for (int i = 0; i < 3; ++i) {
    clock.advance(10s);
    ASSERT_TRUE(book.heartbeat(b).ok());
    EXPECT_EQ(answer(a, leases[size_t(i)]).kind, ResultKind::kAccepted);
    EXPECT_TRUE(book.expire().empty());
  }
}

TEST_F(BookTest, ALeaseRunsOutThoughItsWorkerLivesAndTheNextOneIsLonger) {
  begin(1);
  const WorkerId a = join("a");
  Lease lease = book.assign(a, 1)[0];
  for (const auto length : {300s, 600s, 1200s}) {
    clock.advance(length - 1s);
    ASSERT_TRUE(book.heartbeat(a).ok());
    EXPECT_TRUE(book.expire().empty()) << length.count();
    clock.advance(1s);
    EXPECT_EQ(book.expire().size(), 1u) << length.count();
    const RolloutRequest request = request_of(lease);
    EXPECT_EQ(answer(a, lease, request).kind, ResultKind::kFenced);
    lease = book.assign(a, 1)[0];
  }
  EXPECT_EQ(book.counts().expired, 3);
  EXPECT_EQ(answer(a, lease).kind, ResultKind::kAccepted);
}

TEST_F(BookTest, ABadResultGoesToSomebodyElseAndTheThirdQuarantinesTheName) {
  begin(2);
  const WorkerId liar = join("liar"), honest = join("honest");
  for (int i = 1; i <= 3; ++i) {
    const Lease lease = book.assign(liar, 1)[0];
    const ResultVerdict verdict = book.complete(liar, lease.item, lease.fence, bad(lease));
    EXPECT_EQ(verdict.kind, ResultKind::kInvalid);
    EXPECT_EQ(verdict.why.find("worker 'liar' sent a bad result: completion 0: the log-prob at 0"), 0u)
        << verdict.why;
    EXPECT_EQ(verdict.quarantined, i == 3);
  }
  EXPECT_TRUE(book.assign(liar, 1).empty());
  const Status again = book.join("liar", "f").status();
  EXPECT_EQ(again.code(), Code::kPermissionDenied);
  EXPECT_NE(again.message().find("quarantined after 3 bad results"), std::string::npos);
  for (const Lease& lease : book.assign(honest, 9))
    EXPECT_EQ(answer(honest, lease).kind, ResultKind::kAccepted);
  EXPECT_TRUE(book.finished());
  EXPECT_EQ(book.counts().invalid, 3);
}

TEST_F(BookTest, QuarantineTakesBackEverythingTheLiarHeld) {
  begin(5);
  const WorkerId liar = join("liar"), honest = join("honest");
  auto leases = book.assign(liar, 5);
  for (size_t i = 0; i < 3; ++i) book.complete(liar, leases[i].item, leases[i].fence, bad(leases[i]));
  const auto all = book.assign(honest, 9);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(book.workers().size(), 1u);
}

TEST_F(BookTest, ComingBackUnderTheSameNameForgivesNothing) {
  begin(3);
  for (int i = 0; i < 3; ++i) {
    const WorkerId id = join("liar");
    const Lease lease = book.assign(id, 1)[0];
    book.complete(id, lease.item, lease.fence, bad(lease));
    book.worker_lost(id);
  }
  EXPECT_EQ(book.join("liar", "f").status().code(), Code::kPermissionDenied);
}

TEST_F(BookTest, ADrainingWorkerFinishesAndGetsNothingMore) {
  begin(2);
  const WorkerId a = join("a");
  const Lease lease = book.assign(a, 1)[0];
  ASSERT_TRUE(book.drain(a).ok());
  EXPECT_TRUE(book.assign(a, 9).empty());
  EXPECT_EQ(answer(a, lease).kind, ResultKind::kAccepted);
  EXPECT_EQ(book.drain(77).code(), Code::kNotFound);
}

TEST_F(BookTest, AfterACancelEveryLeaseIsVoid) {
  begin(2);
  const WorkerId a = join("a");
  const Lease lease = book.assign(a, 1)[0];
  const RolloutRequest request = request_of(lease);
  const auto revoked = book.cancel_all();
  ASSERT_EQ(revoked.size(), 1u);
  EXPECT_EQ(revoked[0].item, lease.item);
  EXPECT_EQ(answer(a, lease, request).kind, ResultKind::kFenced);
  begin(2);  // the same step again: the same names, other fences
  EXPECT_EQ(answer(a, lease, request).kind, ResultKind::kFenced);
  EXPECT_EQ(book.assign(a, 2).size(), 2u);
  EXPECT_EQ(answer(a, lease, request).kind, ResultKind::kFenced);
}

TEST_F(BookTest, ALeaseFromBeforeARestartOfTheLearnerNeverMatches) {
  begin(1);
  const WorkerId a = join("a");
  const Lease old = book.assign(a, 1)[0];
  const RolloutRequest request = request_of(old);
  BookOptions later = book_options();
  ++later.epoch;
  Book restarted(later, clock);
  ASSERT_TRUE(restarted.begin(requests_up_to(1), {later.epoch, 7}).ok());
  const auto id = restarted.join("a", "f");
  const Lease fresh = restarted.assign(*id, 1)[0];
  EXPECT_NE(fresh.fence, old.fence);
  EXPECT_NE(fresh.item, old.item);
  EXPECT_EQ(restarted.complete(*id, fresh.item, old.fence, honest_result(request)).kind, ResultKind::kFenced);
}

TEST_F(BookTest, TheFirstFingerprintBindsAndAnotherIsRefusedInWords) {
  join("a", "build1/avx512/1 thread");
  const Status other = book.join("b", "build1/avx2/1 thread").status();
  EXPECT_EQ(other.code(), Code::kFailedPrecondition);
  EXPECT_NE(other.message().find("'build1/avx2/1 thread'"), std::string::npos) << other.message();
  EXPECT_NE(other.message().find("'build1/avx512/1 thread'"), std::string::npos);
  EXPECT_TRUE(book.join("c", "build1/avx512/1 thread").ok());
}

TEST_F(BookTest, AnExpectedFingerprintBindsTheFirstWorkerTooAndNoneWhereOrderIsFree) {
  BookOptions options = book_options();
  options.workers.fingerprint = "f1";
  Book strict(options, clock);
  EXPECT_EQ(strict.join("a", "f2").status().code(), Code::kFailedPrecondition);
  options.workers.deterministic = false;
  Book free(options, clock);
  EXPECT_TRUE(free.join("a", "f2").ok());
  EXPECT_EQ(free.join("", "f2").status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
