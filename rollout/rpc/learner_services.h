// Everything a learner serves, in one object: its workers, its jobs, weights, monitoring, behind one front
// door. Made before the job runner, which needs the workers; listens after it, for the job service needs the
// runner. No generated header, so that the program may have it beside LibTorch's. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "engine/publish/publisher.h"
#include "engine/rpc/job_service_parts.h"
#include "engine/rpc/metrics_endpoint.h"
#include "engine/rpc/server.h"
#include "rollout/rollout.h"
#include "rollout/rpc/fleet_job.h"

namespace fulcrum {

// Who generates for a job: one object behind both pointers.
struct ClusterRollouts {
  std::shared_ptr<RolloutClient> rollouts;
  std::shared_ptr<WeightPublisher> publisher;
};

// Where a learner is going to listen: bound and checked before its state is made, so that a port in use or a
// wrong key leaves nothing behind. Who calls waits until LearnerServices::listen().
class LearnerDoors {
 public:
  // What can go wrong is RpcServer::start's and MetricsEndpoint::start's, and then nothing is bound.
  static Result<LearnerDoors> open(const ServerOptions& options, const MetricsEndpointOptions& metrics = {});
  ~LearnerDoors();
  LearnerDoors(LearnerDoors&&) noexcept;
  LearnerDoors& operator=(LearnerDoors&&) noexcept;

 private:
  friend class LearnerServices;
  LearnerDoors();
  std::unique_ptr<FrontDoor> calls_;
  std::unique_ptr<MetricsEndpoint> metrics_;  // null: none
};

class LearnerServices {
 public:
  LearnerServices();
  ~LearnerServices();  // stops
  LearnerServices(const LearnerServices&) = delete;
  LearnerServices& operator=(const LearnerServices&) = delete;

  // One job at a time: kFailedPrecondition while the pointers of another one live. They must not outlive this
  // object.
  Result<ClusterRollouts> begin_job(FleetJobOptions options);

  // Once: kFailedPrecondition.
  Status listen(LearnerDoors doors, JobServiceParts parts);
  // After listen().
  std::string address() const;
  std::string metrics_address() const;  // empty: no endpoint
  // What the health service answers.
  void set_serving(bool serving);
  // No call is served afterwards. Call it before the runner and the store go.
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fulcrum
