// JobService: the learner's jobs over gRPC. It converts and forwards; the store and the runner decide.
#pragma once

#include "engine/rpc/call_threads.h"
#include "engine/rpc/job_service_parts.h"
#include "fulcrum/v1/job.grpc.pb.h"

namespace fulcrum {

class JobServiceServer final : public v1::JobService::CallbackService {
 public:
  explicit JobServiceServer(JobServiceParts parts) : parts_(std::move(parts)), calls_(64), watches_(64) {}

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext*, const v1::SubmitRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext*, const v1::GetRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext*, const v1::ListRequest*,
                                 v1::ListResponse*) override;
  grpc::ServerWriteReactor<v1::JobEvent>* Watch(grpc::CallbackServerContext*,
                                                const v1::WatchRequest*) override;
  grpc::ServerUnaryReactor* Pause(grpc::CallbackServerContext*, const v1::JobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* Resume(grpc::CallbackServerContext*, const v1::JobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext*, const v1::JobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext*, const v1::JobRequest*,
                                   v1::DeleteResponse*) override;
  grpc::ServerUnaryReactor* ListCheckpoints(grpc::CallbackServerContext*, const v1::JobRequest*,
                                            v1::ListCheckpointsResponse*) override;

 private:
  using Verb = Result<Job> (JobRunner::*)(const std::string& id);
  grpc::ServerUnaryReactor* steer(const v1::JobRequest* request, v1::Job* response, Verb verb);

  JobServiceParts parts_;
  CallThreads calls_;
  CallThreads watches_;  // their own, so that many watchers cannot keep a cancel out
};

}  // namespace fulcrum
