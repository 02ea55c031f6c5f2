// One stream of a worker to a learner, from registration to the end: three threads (the caller reads, one
// writes and keeps the heartbeat, one generates) around two queues. Made anew for every connection; nothing
// of an old one survives but the models.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "engine/rpc/client.h"
#include "fulcrum/v1/rollout.grpc.pb.h"
#include "rollout/rpc/fetch_weights.h"
#include "rollout/rpc/worker_model.h"

namespace fulcrum {

struct RolloutWorkerOptions {
  ClientOptions learner;
  std::string name;                                         // for people; a good one holds the host
  std::string fingerprint;                                  // numeric_fingerprint()
  std::string bf16_fingerprint;                             // numeric_fingerprint(DType::kBF16)
  int64_t capacity = 8;                                     // prompts at a time
  Duration first_backoff = std::chrono::milliseconds(200);  // doubles up to the longest
  Duration longest_backoff = std::chrono::seconds(3);
};

// The models a worker holds: the last two sets of weights, so that training and evaluation can take turns. Of
// bf16 weights also the newest as they came, so that the next come as what has changed. Used by one thread.
class WorkerModels {
 public:
  explicit WorkerModels(WorkerModelFactory factory) : factory_(std::move(factory)) {}
  // Fetches them if they are not here.
  Result<std::shared_ptr<WorkerModel>> get(const Connection& learner, int64_t weights_id,
                                           std::stop_token stop);

 private:
  WorkerModelFactory factory_;
  std::string tokenizer_hash_;
  HeldWeights held_;
  std::deque<std::pair<int64_t, std::shared_ptr<WorkerModel>>> models_;  // oldest first
};

class WorkerSession {
 public:
  WorkerSession(const Connection& learner, const RolloutWorkerOptions& options, WorkerModels& models)
      : learner_(learner), options_(options), models_(models) {}

  // Until the stream ends or a stop request; says why it ended. `patient`: waits for a learner that cannot be
  // reached, instead of saying so.
  Status run(std::stop_token stop, bool patient);
  // Whether the learner has taken the worker in: what follows is not a refusal.
  bool registered() const { return registered_; }

 private:
  Status introduce();
  void read(v1::LearnerMessage message);
  void write_loop(std::stop_token stop);
  void generate_loop(std::stop_token stop);
  std::vector<v1::Lease> next_batch(std::stop_token stop);
  Status generate(const std::vector<v1::Lease>& batch, std::stop_token stop);
  void send_group(const v1::Lease& lease, const RolloutGroup& group);
  void fail(const Status& why);

  const Connection& learner_;
  const RolloutWorkerOptions& options_;
  WorkerModels& models_;

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriterInterface<v1::WorkerMessage, v1::LearnerMessage>> stream_;
  bool registered_ = false;
  Duration heartbeat_{};

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<v1::WorkerMessage> unsent_;
  std::deque<v1::Lease> waiting_;  // leases nobody works on yet
  std::set<uint64_t> at_work_;     // fences of the batch that is being generated
  std::stop_source batch_stop_;    // of that batch
  int64_t weights_id_ = 0;         // held, as the heartbeat tells
  Status failure_;                 // why this side ends the stream
};

}  // namespace fulcrum
