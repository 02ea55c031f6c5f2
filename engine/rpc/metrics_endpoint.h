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
  // Store and hub must outlive it. kInvalidArgument: no address; kFailedPrecondition: not loopback and not
  // asked for; kUnavailable: the port is in use.
  static Result<std::unique_ptr<MetricsEndpoint>> start(const MetricsEndpointOptions& options,
                                                        JobStore& store, const WorkerHub& hub);
  ~MetricsEndpoint();  // ends what is being read
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  std::string address() const;  // HOST:PORT

 private:
  struct Parts;
  explicit MetricsEndpoint(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace fulcrum
