// GET /metrics for Prometheus: what the learner counts, its jobs by state, and the last numbers of the jobs
// that run. Plain HTTP without a token, so loopback only unless somebody asks for more. Started by
// LearnerServices. Thread-safe; every scrape reads store and hub anew, on a thread of the endpoint.
#pragma once

#include <memory>
#include <string>

#include "engine/core/status.h"

namespace fulcrum {

class JobStore;
class WorkerHub;

struct MetricsEndpointOptions {
  std::string listen;           // HOST:PORT; port 0: any free one; empty: no endpoint
  bool other_machines = false;  // may read it too: whoever reaches the port reads the numbers
};

class MetricsEndpoint {
 public:
  // Listens, and answers 503 until show(). kInvalidArgument: no address, or one off the loopback that was not
  // asked for; kFailedPrecondition: the port is in use.
  static Result<std::unique_ptr<MetricsEndpoint>> start(const MetricsEndpointOptions& options);
  ~MetricsEndpoint();  // ends what is being read
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  // Once. Store and hub must outlive the endpoint.
  void show(JobStore& store, const WorkerHub& hub);
  std::string address() const;  // HOST:PORT

 private:
  struct Parts;
  explicit MetricsEndpoint(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace fulcrum
