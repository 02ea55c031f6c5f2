#include "engine/rpc/job_service.h"

#include <algorithm>

#include "engine/core/text.h"
#include "engine/jobs/checkpoint.h"
#include "engine/rpc/event_stream.h"
#include "engine/rpc/job_convert.h"
#include "engine/rpc/reactor.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxNameBytes = 200;

Result<v1::Job> submit(const JobServiceParts& parts, const v1::SubmitRequest& request) {
  if (request.config_json().size() > kMaxConfigBytes)
    return invalid_argument("the job file is larger than 1 MiB");
  if (request.name().size() > kMaxNameBytes || request.request_id().size() > kMaxNameBytes) {
    return invalid_argument("a job's name and request_id have at most 200 bytes");
  }
  if (parts.check) TRY_DO(parts.check(request.config_json()));
  TRY(job, parts.runner.submit({request.name(), request.config_json(), request.request_id()}));
  return to_wire(job);
}

Result<v1::ListResponse> list(const JobServiceParts& parts, const v1::ListRequest& request) {
  ListQuery query;
  if (request.page_size() != 0) query.page_size = request.page_size();
  query.page_token = request.page_token();
  for (const int wire : request.states()) {
    TRY(state, from_wire(static_cast<v1::JobState>(wire)));
    query.states.push_back(state);
  }
  TRY(page, parts.store.list(query));
  v1::ListResponse response;
  for (const Job& job : page.jobs) *response.add_jobs() = to_wire(job, /*with_config=*/false);
  response.set_next_page_token(page.next_page_token);
  return response;
}

Result<v1::ListCheckpointsResponse> checkpoints(const JobServiceParts& parts, const std::string& id) {
  TRY(job, parts.store.get(id));
  TRY(folder, parts.run_folder(job));
  const CheckpointStore store = CheckpointStore::read_only(folder / "checkpoints");
  v1::ListCheckpointsResponse response;
  TRY(steps, store.steps());
  TRY(best, store.best());
  for (const int64_t step : steps) {
    v1::Checkpoint& checkpoint = *response.add_checkpoints();
    const auto info = store.info(step);
    checkpoint.set_step(step);
    checkpoint.set_folder(to_valid_utf8(store.folder_of(step).string()));
    checkpoint.set_best(best.has_value() && best->step == step);
    if (!info.ok()) checkpoint.set_error(to_valid_utf8(info.status().message()));
  }
  return response;
}

}  // namespace

grpc::ServerUnaryReactor* JobServiceServer::Submit(grpc::CallbackServerContext*,
                                                   const v1::SubmitRequest* request, v1::Job* response) {
  return answer(calls_, response, [this, request](std::stop_token) { return submit(parts_, *request); });
}

grpc::ServerUnaryReactor* JobServiceServer::Get(grpc::CallbackServerContext*, const v1::GetRequest* request,
                                                v1::Job* response) {
  return answer(calls_, response, [this, request](std::stop_token) -> Result<v1::Job> {
    TRY(job, parts_.store.get(request->job_id()));
    return to_wire(job);
  });
}

grpc::ServerUnaryReactor* JobServiceServer::List(grpc::CallbackServerContext*, const v1::ListRequest* request,
                                                 v1::ListResponse* response) {
  return answer(calls_, response, [this, request](std::stop_token) { return list(parts_, *request); });
}

grpc::ServerWriteReactor<v1::JobEvent>* JobServiceServer::Watch(grpc::CallbackServerContext* context,
                                                                const v1::WatchRequest* request) {
  return stream<v1::JobEvent>(context, watches_, [this, request](StreamWriter<v1::JobEvent>& out) -> Status {
    if (request->from_number() < 0) return invalid_argument("from_number counts from 1");
    return follow_events(parts_.store, request->job_id(), std::max<int64_t>(1, request->from_number()),
                         /*follow=*/true, out.stop(),
                         [&](const Event& event) { return out.write(to_wire(event)); });
  });
}

grpc::ServerUnaryReactor* JobServiceServer::steer(const v1::JobRequest* request, v1::Job* response,
                                                  Verb verb) {
  return answer(calls_, response,
                [&runner = parts_.runner, request, verb](std::stop_token) -> Result<v1::Job> {
                  TRY(job, (runner.*verb)(request->job_id()));
                  return to_wire(job);
                });
}

grpc::ServerUnaryReactor* JobServiceServer::Pause(grpc::CallbackServerContext*, const v1::JobRequest* request,
                                                  v1::Job* response) {
  return steer(request, response, &JobRunner::pause);
}

grpc::ServerUnaryReactor* JobServiceServer::Resume(grpc::CallbackServerContext*,
                                                   const v1::JobRequest* request, v1::Job* response) {
  return steer(request, response, &JobRunner::resume);
}

grpc::ServerUnaryReactor* JobServiceServer::Cancel(grpc::CallbackServerContext*,
                                                   const v1::JobRequest* request, v1::Job* response) {
  return steer(request, response, &JobRunner::cancel);
}

grpc::ServerUnaryReactor* JobServiceServer::Delete(grpc::CallbackServerContext*,
                                                   const v1::JobRequest* request,
                                                   v1::DeleteResponse* response) {
  return answer(calls_, response, [this, request](std::stop_token) -> Result<v1::DeleteResponse> {
    TRY_DO(parts_.runner.remove(request->job_id()));
    return v1::DeleteResponse();
  });
}

grpc::ServerUnaryReactor* JobServiceServer::ListCheckpoints(grpc::CallbackServerContext*,
                                                            const v1::JobRequest* request,
                                                            v1::ListCheckpointsResponse* response) {
  return answer(calls_, response,
                [this, request](std::stop_token) { return checkpoints(parts_, request->job_id()); });
}

}  // namespace fulcrum
