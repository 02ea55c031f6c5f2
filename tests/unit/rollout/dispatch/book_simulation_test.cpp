// A learner and its workers in a world of random faults: deaths, stalls, replays, lies, drains, cancels,
// clock jumps. Whatever happens, every batch ends with each request counted once, in order, with the bits an
// honest worker draws.
#include <set>

#include "engine/core/rng.h"
#include "tests/unit/rollout/dispatch/dispatch_testing.h"

namespace fulcrum {
namespace {

using namespace std::chrono_literals;
using testing::book_options;
using testing::honest_result;
using testing::kVersion;
using testing::requests_up_to;

struct Answer {  // what is under way from a worker to the book
  WorkerId worker = 0;
  ItemId item = 0;
  uint64_t fence = 0;
  RolloutGroup result;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : rng_(seed, Purpose::kTest) {}

  void run(int batches) {
    for (int64_t step = 0; step < batches; ++step) {
      const auto n = static_cast<int64_t>(rng_.below(30));
      ASSERT_TRUE(book_.begin(requests_up_to(n, step), kVersion).ok());
      int64_t turns = 0;
      bool cancelled = false;
      while (!book_.finished() && !cancelled) {
        ASSERT_LT(++turns, 20000) << "no progress";
        turn();
        check_counts(n);
        if (rng_.below(3000) == 0) {
          book_.cancel_all();
          cancelled = true;
        }
      }
      if (!cancelled) check_results(n);
    }
  }

 private:
  void turn() {
    switch (rng_.below(12)) {
      case 0:
        join();
        break;
      case 1:
        clock_.advance(std::chrono::seconds(rng_.below(20)));
        break;
      case 2:
        (void)book_.expire();
        break;
      case 3:
        heartbeats();
        break;
      case 4:
        if (rng_.below(10) == 0 && !ids_.empty()) book_.worker_lost(any_worker());
        break;
      case 5:
        if (rng_.below(20) == 0 && !ids_.empty()) (void)book_.drain(any_worker());
        break;
      case 6:
      case 7:
        work();
        break;
      default:
        deliver();
        break;
    }
  }

  void join() {
    // Names without end: a quarantine must not be able to starve the batch.
    if (book_.workers().size() >= 4) return;
    const auto id = book_.join("worker " + std::to_string(names_++), "f");
    ASSERT_TRUE(id.ok());
    ids_.push_back(*id);
  }

  void heartbeats() {
    for (const Worker& worker : book_.workers()) {
      if (rng_.below(4) != 0) (void)book_.heartbeat(worker.id);
    }
  }

  WorkerId any_worker() { return ids_[rng_.below(ids_.size())]; }

  void work() {
    if (ids_.empty()) return;
    const WorkerId worker = any_worker();
    for (const Lease& lease : book_.assign(worker, 1 + static_cast<int64_t>(rng_.below(5)))) {
      EXPECT_TRUE(fences_.insert(lease.fence).second) << "a fence was given twice";
      if (rng_.below(8) == 0) continue;  // never answered: a stall
      RolloutGroup result = honest_result(*lease.request);
      if (rng_.below(15) == 0) result.completions[0].ids[0] = -5;
      under_way_.push_back({worker, lease.item, lease.fence, result});
    }
  }

  // Any answer, not the first: late, early, now and then kept to be sent again.
  void deliver() {
    if (under_way_.empty()) return;
    const size_t i = rng_.below(under_way_.size());
    const Answer answer = under_way_[i];
    if (rng_.below(4) != 0) {
      under_way_[i] = under_way_.back();
      under_way_.pop_back();
    }
    const ResultVerdict verdict = book_.complete(answer.worker, answer.item, answer.fence, answer.result);
    if (verdict.kind == ResultKind::kAccepted) {
      EXPECT_GE(answer.result.completions[0].ids[0], 0) << "a lie was believed";
      EXPECT_TRUE(counted_.insert(answer.fence).second) << "a lease was counted twice";
    }
  }

  void check_counts(int64_t n) {
    const BookCounts counts = book_.counts();
    ASSERT_EQ(counts.waiting + counts.leased + counts.done, n) << "a request was lost or made";
    int64_t held = 0;
    for (const Worker& worker : book_.workers()) held += worker.held;
    ASSERT_EQ(held, counts.leased) << "a lease nobody holds";
  }

  void check_results(int64_t n) {
    const auto results = book_.take();
    ASSERT_TRUE(results.ok());
    ASSERT_EQ(static_cast<int64_t>(results->size()), n);
    for (int64_t i = 0; i < n; ++i) {
      const RolloutGroup& group = (*results)[static_cast<size_t>(i)];
      const RolloutGroup expected = honest_result(testing::request_for(i));
      ASSERT_EQ(group.index, i);
      ASSERT_EQ(group.version, kVersion);
      ASSERT_EQ(group.prompt.text, "prompt " + std::to_string(i));
      for (size_t g = 0; g < expected.completions.size(); ++g) {
        ASSERT_EQ(group.completions[g].ids, expected.completions[g].ids);
        ASSERT_EQ(group.completions[g].text, expected.completions[g].text);
      }
    }
  }

  Rng rng_;
  FakeClock clock_;
  Book book_{book_options(), clock_};
  int64_t names_ = 0;
  std::vector<WorkerId> ids_;
  std::vector<Answer> under_way_;
  std::set<uint64_t> fences_, counted_;
};

TEST(BookSimulation, EveryRequestIsCountedOnceAndInOrderUnderFaults) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed).run(6);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace fulcrum
