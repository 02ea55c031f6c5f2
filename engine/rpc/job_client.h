// JobService and MonitorService from the client's side, as values: what the CLI's verbs call. Every call has
// a deadline; watch() alone may last. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/jobs/store.h"
#include "engine/rpc/client.h"
#include "fulcrum/v1/job.grpc.pb.h"
#include "fulcrum/v1/monitor.grpc.pb.h"

namespace fulcrum {

class JobClient {
 public:
  explicit JobClient(Connection connection, Duration patience = std::chrono::seconds(20));

  // A request_id is made up if it is empty, so that a call that is sent twice is one job.
  Result<Job> submit(NewJob job);
  Result<Job> get(const std::string& id);
  Result<JobPage> list(const ListQuery& query);
  Result<Job> pause(const std::string& id);
  Result<Job> resume(const std::string& id);
  Result<Job> cancel(const std::string& id);
  Status remove(const std::string& id);
  Result<std::vector<v1::Checkpoint>> checkpoints(const std::string& id);

  // Events from number `from` on, each once and in order, until the job has ended (ok), `take` answers false
  // (ok) or a stop request (kCancelled). A learner that goes away is waited for, as long as `patience` at a
  // time.
  Status watch(const std::string& id, int64_t from, std::stop_token stop,
               const std::function<bool(const Event&)>& take);

  Result<std::vector<v1::WorkerInfo>> workers();
  // Rows of steps [first, last]; `names` empty: all metrics.
  Result<std::vector<MetricRow>> metrics(const std::string& id, const std::vector<std::string>& names,
                                         int64_t first, std::optional<int64_t> last);
  Result<v1::StatsResponse> stats();
  // The last lines of a job's log, then new ones if `follow`.
  Status tail_log(const std::string& id, int32_t lines, bool follow, std::stop_token stop,
                  const std::function<bool(const std::string&)>& take);

 private:
  using JobStub = v1::JobService::StubInterface;
  using Steer = grpc::Status (JobStub::*)(grpc::ClientContext*, const v1::JobRequest&, v1::Job*);
  Result<Job> steer(const std::string& id, Steer verb);
  // One unary call of either service.
  template <class Stub, class Request, class Response>
  Result<Response> call(Stub& stub,
                        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                        const Request& request);

  Connection connection_;
  Duration patience_;
  std::unique_ptr<JobStub> jobs_;
  std::unique_ptr<v1::MonitorService::StubInterface> monitor_;
};

}  // namespace fulcrum
