// The learner's side of its rollout workers: who is connected, what each of them holds, which weights are
// published. One fleet a learner process; it outlives jobs, and workers stay connected between them.
// WorkerService and WeightService (engine/rpc) call it from gRPC's reactions, a job's thread through the
// GrpcRollout that begin_job() hands out. Thread-safe: one mutex around everything, never held while
// something blocks or a text is decoded. What counts is decided by the book (rollout/dispatch); the fleet
// moves it over the wire.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/clock.h"
#include "engine/publish/publisher.h"
#include "engine/rpc/weight_image.h"
#include "engine/rpc/weight_service.h"
#include "engine/rpc/worker_service.h"
#include "rollout/dispatch/book.h"
#include "rollout/rollout.h"
#include "rollout/rpc/fleet_job.h"

namespace fulcrum {

class GrpcRollout;

class Fleet final : public WorkerHub, public WeightSource {
 public:
  explicit Fleet(const Clock& clock = system_clock());
  ~Fleet() override;

  // A job at a time: kFailedPrecondition while another one's GrpcRollout lives. The fleet must outlive it.
  Result<std::shared_ptr<GrpcRollout>> begin_job(FleetJobOptions options);

  // WorkerHub
  Result<int64_t> joined(const v1::Register& hello, std::shared_ptr<WorkerLink> link) override;
  Status received(int64_t worker, v1::WorkerMessage message) override;
  void left(int64_t worker) override;
  std::vector<v1::WorkerInfo> workers() const override;
  std::map<std::string, int64_t> counters() const override;

  // WeightSource
  std::shared_ptr<const WeightImage> image(int64_t weights_id) const override;
  std::shared_ptr<const WeightUpdate> update(int64_t base, int64_t weights_id) const override;
  void sent(int64_t bytes) const override { bytes_sent_ += bytes; }

 private:
  friend class GrpcRollout;  // the handle of the job; it forwards to the functions named like its own

  // A lease on its way back, completion by completion.
  struct Partial {
    ItemId item = 0;
    RolloutRequest request;
    RolloutGroup group;
    std::vector<bool> arrived;
    int64_t missing = 0;
  };
  struct Peer {
    std::shared_ptr<WorkerLink> link;
    std::string name, fingerprint, bf16_fingerprint;
    int64_t capacity = 1;
    WorkerId in_book = 0;  // 0: not a worker of the job at hand
    Instant last_heard;
    int64_t weights_id = 0;
    int64_t completed = 0, bad = 0;
    bool stalled = false;                // a lease of this batch ran out on it
    std::map<uint64_t, Partial> leases;  // by fence
  };
  struct Published {
    PolicyVersion version;
    std::shared_ptr<const WeightImage> image;
  };
  // What has changed from one published set of bf16 weights to the next.
  struct Change {
    int64_t from = 0, to = 0;  // weights
    uint64_t from_hash = 0;
    std::shared_ptr<const std::string> delta;
  };
  struct Job {
    Job(FleetJobOptions o, BookOptions book_options, const Clock& clock)
        : options(std::move(o)), book(std::move(book_options), clock) {}
    FleetJobOptions options;
    Book book;
    std::deque<Published> published;  // oldest first
    std::deque<Change> changes;       // oldest first, without a gap up to the newest published
    int64_t weights_id = 0;           // of the batch at work
    bool waiting = false;             // as last reported
    // Since the last group came back: how often a worker failed, which ones did, and why the last one.
    int failures = 0;
    std::set<std::string> failed;
    std::string why_failed;
    // All that on_failure hears of, and what of it it has not heard yet.
    std::set<std::string> failures_seen;
    std::vector<std::string> untold;
  };

  Status publish(const std::shared_ptr<Job>& job, std::shared_ptr<const WeightSet> weights);
  static void note_change(Job& job, const WeightImage& image, std::shared_ptr<const std::string> delta);
  Result<std::vector<RolloutGroup>> generate(const std::shared_ptr<Job>& job,
                                             std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop);
  void end_job(const std::shared_ptr<Job>& job);

  // All of these under the mutex, which `lock` holds too.
  Status enlist(Peer& peer);
  void hand_out();
  std::vector<Peer*> takers();
  void lease_to(Peer& peer, int64_t capacity);
  void take_back(const std::vector<Revoked>& revoked);
  void drop_silent();
  bool all_fail(const Job& job) const;
  void on_failure(const Peer& peer, const std::string& reason);
  Partial* partial_of(int64_t worker, const v1::CompletionResult& result);
  Status on_completion(std::unique_lock<std::mutex>& lock, int64_t worker,
                       const v1::CompletionResult& result);
  static Result<Completion> completion_for(const Partial& partial, const v1::CompletionResult& result);
  // `seen`: what was wrong with it already, if anything was.
  Status on_group(Peer& peer, uint64_t fence, const Status& seen = {});
  bool is_current(const std::shared_ptr<Job>& job) const { return job_ == job; }
  void changed();

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t changes_ = 0;
  std::map<int64_t, Peer> peers_;
  std::shared_ptr<Job> job_;  // null between jobs
  int64_t last_peer_ = 0;
  int64_t last_epoch_;  // of books: no two jobs share fences or items
  int64_t last_weights_id_;
  std::map<std::string, int64_t> counters_;
  mutable std::atomic<int64_t> bytes_sent_{0};  // of weights
};

// The backend of one job: generate() and publish() by the workers of a fleet. See RolloutClient and
// WeightPublisher.
class GrpcRollout final : public RolloutClient, public WeightPublisher {
 public:
  ~GrpcRollout() override;

  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop) override;
  Status publish(std::shared_ptr<const WeightSet> weights) override;
  std::optional<int64_t> bytes_sent() const override;

 private:
  friend class Fleet;
  GrpcRollout(Fleet& fleet, std::shared_ptr<Fleet::Job> job) : fleet_(fleet), job_(std::move(job)) {}

  Fleet& fleet_;
  std::shared_ptr<Fleet::Job> job_;
};

}  // namespace fulcrum
