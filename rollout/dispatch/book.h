// The book of the rollouts: which requests wait, who holds which under what lease, what came back. It counts
// every request exactly once, whatever workers do: die, stall, come back, answer twice or lie. Called by the
// gRPC rollout backend, which holds a mutex around it. Pure bookkeeping: no I/O, time from the Clock it is
// given. Not thread-safe.
//
// A lease carries a number that is given once (the fence). A result counts only under the lease its request
// is held by now; the first valid one wins. Requests are pure functions of their key, so doing one twice is
// harmless.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/clock.h"
#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "rollout/dispatch/check_result.h"
#include "rollout/dispatch/workers.h"

namespace fulcrum {

// Hash of (job epoch, evaluation, step, index): what a request is called on the wire.
using ItemId = uint64_t;
ItemId item_id(int64_t epoch, const RolloutRequest& request);

struct BookOptions {
  int64_t epoch = 0;                           // of the job: a restarted learner voids every lease before it
  Duration lease = std::chrono::seconds(300);  // doubled each time the same request runs out of it
  ResultLimits limits;
  WorkerOptions workers;
};

struct Lease {
  ItemId item = 0;
  uint64_t fence = 0;
  const RolloutRequest* request = nullptr;  // the book's; valid until the next call that changes it
  PolicyVersion version;
};

struct Revoked {
  WorkerId worker = 0;
  ItemId item = 0;
  uint64_t fence = 0;
};

enum class ResultKind {
  kAccepted,
  kDuplicate,  // the request has its result already
  kFenced,     // the lease is void: it ran out, was taken back, or belongs to another batch, epoch or worker
  kInvalid,    // not believed; the request goes to somebody else
};
struct ResultVerdict {
  ResultKind kind = ResultKind::kFenced;
  std::string why;           // one printable line, empty if accepted
  bool quarantined = false;  // that was its last chance: the worker is out
};

struct BookCounts {
  int64_t waiting = 0, leased = 0, done = 0;                                  // of the batch at hand
  int64_t accepted = 0, duplicate = 0, fenced = 0, invalid = 0, expired = 0;  // since the book was opened
};

class Book {
 public:
  Book(BookOptions options, const Clock& clock);

  // One batch at a time. kFailedPrecondition: one is at work; kInvalidArgument: two requests with one key.
  Status begin(std::span<const RolloutRequest> requests, PolicyVersion version);
  bool finished() const { return open_ && done_ == items_.size(); }
  // The results in the order of the requests; closes the batch. kFailedPrecondition before finished().
  Result<std::vector<RolloutGroup>> take();
  // Closes the batch; every lease is void.
  std::vector<Revoked> cancel_all();

  // Workers. What join() refuses and why: WorkerBook::join.
  Result<WorkerId> join(const std::string& name, const std::string& fingerprint);
  Status heartbeat(WorkerId worker) { return workers_.heartbeat(worker); }
  // New leases, first waiting first, so that the worker holds at most `capacity`. None for one that drains.
  std::vector<Lease> assign(WorkerId worker, int64_t capacity);
  ResultVerdict complete(WorkerId worker, ItemId item, uint64_t fence, RolloutGroup result);
  // It keeps what it has and gets nothing more.
  Status drain(WorkerId worker);
  // Its leases go back to the front of the queue.
  void worker_lost(WorkerId worker);
  // Loses workers that were silent too long and takes back leases that ran out. Call it every second or so.
  std::vector<Revoked> expire();

  std::vector<Worker> workers() const { return workers_.all(); }
  BookCounts counts() const;

 private:
  struct Item {
    RolloutRequest request;
    std::optional<RolloutGroup> result;
    uint64_t fence = 0;  // 0: not leased
    WorkerId worker = 0;
    Instant deadline;
    int times_expired = 0;
  };
  void give_back(size_t index);
  std::vector<Revoked> revoke(const std::vector<size_t>& indices);
  std::vector<size_t> held_by(WorkerId worker) const;
  ResultVerdict reject(const Worker& worker, size_t index, const Status& why);
  void close();

  BookOptions options_;
  const Clock& clock_;
  WorkerBook workers_;
  uint64_t last_fence_;

  bool open_ = false;
  PolicyVersion version_;
  std::vector<Item> items_;  // in the order of the requests
  std::map<ItemId, size_t> by_id_;
  std::deque<size_t> waiting_;
  size_t done_ = 0;
  BookCounts totals_;
};

}  // namespace fulcrum
