// WorkerService: one stream a worker. It moves messages and keeps the stream's rules; what they mean is
// decided by the hub behind it (rollout/rpc/fleet.h). The hub's functions are called in gRPC's reactions, so
// they must not block.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "fulcrum/v1/monitor.pb.h"
#include "fulcrum/v1/rollout.grpc.pb.h"

namespace fulcrum {

// One connected worker, as the hub holds it. Thread-safe; may outlive the stream and then does nothing.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  virtual void send(v1::LearnerMessage message) = 0;  // never blocks
  virtual void close(Status why) = 0;                 // ends the stream; what was not sent yet is dropped
  virtual std::string peer() const = 0;
};

class WorkerHub {
 public:
  virtual ~WorkerHub() = default;
  // A worker has introduced itself; answers its number. Not ok, here and below: the stream is ended with it.
  virtual Result<int64_t> joined(const v1::Register& hello, std::shared_ptr<WorkerLink> link) = 0;
  virtual Status received(int64_t worker, v1::WorkerMessage message) = 0;
  virtual void left(int64_t worker) = 0;

  virtual std::vector<v1::WorkerInfo> workers() const = 0;
  virtual std::map<std::string, int64_t> counters() const = 0;
};

class WorkerServiceServer final : public v1::WorkerService::CallbackService {
 public:
  // The hub must live until the server has stopped.
  explicit WorkerServiceServer(WorkerHub& hub) : hub_(hub) {}
  grpc::ServerBidiReactor<v1::WorkerMessage, v1::LearnerMessage>* Work(
      grpc::CallbackServerContext* context) override;

 private:
  WorkerHub& hub_;
};

}  // namespace fulcrum
