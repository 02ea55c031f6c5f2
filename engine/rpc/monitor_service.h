// MonitorService: workers, metrics, counters and logs, read-only.
#pragma once

#include "engine/core/clock.h"
#include "engine/jobs/store.h"
#include "engine/rpc/call_threads.h"
#include "engine/rpc/worker_service.h"
#include "fulcrum/v1/monitor.grpc.pb.h"

namespace fulcrum {

class MonitorServiceServer final : public v1::MonitorService::CallbackService {
 public:
  // Store and hub must live until the server has stopped.
  MonitorServiceServer(JobStore& store, const WorkerHub& hub)
      : store_(store), hub_(hub), started_(system_clock().now()), calls_(32), tails_(32) {}

  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext*, const v1::ListWorkersRequest*,
                                        v1::ListWorkersResponse*) override;
  grpc::ServerUnaryReactor* GetMetrics(grpc::CallbackServerContext*, const v1::GetMetricsRequest*,
                                       v1::GetMetricsResponse*) override;
  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext*, const v1::StatsRequest*,
                                  v1::StatsResponse*) override;
  grpc::ServerWriteReactor<v1::LogLine>* TailLog(grpc::CallbackServerContext*,
                                                 const v1::TailLogRequest*) override;

 private:
  JobStore& store_;
  const WorkerHub& hub_;
  const Instant started_;
  CallThreads calls_;
  CallThreads tails_;
};

// "2026-11-24T04:20:42Z warn step 12: ...": how an event reads in a log.
std::string log_text(const Event& event);

}  // namespace fulcrum
