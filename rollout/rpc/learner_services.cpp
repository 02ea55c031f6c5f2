#include "rollout/rpc/learner_services.h"

#include <array>
#include <optional>

#include "engine/rpc/front_door.h"
#include "engine/rpc/job_service.h"
#include "engine/rpc/monitor_service.h"
#include "engine/rpc/weight_service.h"
#include "engine/rpc/worker_service.h"
#include "rollout/rpc/fleet.h"

namespace fulcrum {

// In the order of their lives: the server goes first, the services before what they serve.
struct LearnerServices::Parts {
  Fleet fleet;
  WorkerServiceServer workers{fleet};
  WeightServiceServer weights{fleet};
  std::optional<JobServiceServer> jobs;
  std::optional<MonitorServiceServer> monitor;
  std::unique_ptr<MetricsEndpoint> metrics;
  std::unique_ptr<RpcServer> server;
};

LearnerDoors::LearnerDoors() = default;
LearnerDoors::~LearnerDoors() = default;
LearnerDoors::LearnerDoors(LearnerDoors&&) noexcept = default;
LearnerDoors& LearnerDoors::operator=(LearnerDoors&&) noexcept = default;

Result<LearnerDoors> LearnerDoors::open(const ServerOptions& options, const MetricsEndpointOptions& metrics) {
  LearnerDoors doors;
  TRY(calls, FrontDoor::open(options));
  doors.calls_ = std::move(calls);
  if (metrics.listen.empty()) return doors;
  TRY(endpoint, MetricsEndpoint::start(metrics));
  doors.metrics_ = std::move(endpoint);
  return doors;
}

LearnerServices::LearnerServices() : parts_(std::make_unique<Parts>()) {}
LearnerServices::~LearnerServices() = default;

Result<ClusterRollouts> LearnerServices::begin_job(FleetJobOptions options) {
  TRY(job, parts_->fleet.begin_job(std::move(options)));
  return ClusterRollouts{job, job};
}

Status LearnerServices::listen(LearnerDoors doors, JobServiceParts parts) {
  if (parts_->server) return failed_precondition("this learner listens already");
  JobStore& store = parts.store;
  parts_->monitor.emplace(store, parts_->fleet);
  parts_->jobs.emplace(std::move(parts));
  const std::array<grpc::Service*, 4> services{&*parts_->jobs, &parts_->workers, &parts_->weights,
                                               &*parts_->monitor};
  TRY(server, RpcServer::start(std::move(doors.calls_), services));
  parts_->server = std::move(server);
  parts_->metrics = std::move(doors.metrics_);
  if (parts_->metrics) parts_->metrics->show(store, parts_->fleet);
  return ok_status();
}

std::string LearnerServices::address() const { return parts_->server ? parts_->server->address() : ""; }

std::string LearnerServices::metrics_address() const {
  return parts_->metrics ? parts_->metrics->address() : "";
}

void LearnerServices::set_serving(bool serving) {
  if (parts_->server) parts_->server->set_serving(serving);
}

void LearnerServices::stop() {
  parts_->metrics.reset();
  if (parts_->server) parts_->server->stop();
}

}  // namespace fulcrum
