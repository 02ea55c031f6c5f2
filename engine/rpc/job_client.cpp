#include "engine/rpc/job_client.h"

#include <random>

#include "engine/core/text.h"
#include "engine/rpc/job_convert.h"

namespace fulcrum {
namespace {

std::string fresh_request_id() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) id += std::to_string(device()) + (i < 3 ? "-" : "");
  return id;
}

v1::JobRequest job_request(const std::string& id) {
  v1::JobRequest request;
  request.set_job_id(to_valid_utf8(id));
  return request;
}

// Reads a server stream until `take` has enough (ok), a stop request (kCancelled) or the stream's own end.
template <class Message>
Status read_all(const Connection& connection, grpc::ClientContext& context,
                std::unique_ptr<grpc::ClientReaderInterface<Message>> reader, const std::stop_token& stop,
                const std::function<Result<bool>(const Message&)>& take) {
  const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
  Message message;
  Status bad;
  bool enough = false;
  while (bad.ok() && !enough && reader->Read(&message)) {
    const Result<bool> more = take(message);
    bad = more.status();
    enough = more.ok() && !*more;
  }
  if (enough || !bad.ok()) context.TryCancel();
  const Status end = connection.status(reader->Finish());
  if (enough || !bad.ok()) return bad;
  return stop.stop_requested() ? cancelled() : end;
}

}  // namespace

JobClient::JobClient(Connection connection, Duration patience)
    : connection_(std::move(connection)),
      patience_(patience),
      jobs_(v1::JobService::NewStub(connection_.channel())),
      monitor_(v1::MonitorService::NewStub(connection_.channel())) {}

template <class Stub, class Request, class Response>
Result<Response> JobClient::call(Stub& stub,
                                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                                 const Request& request) {
  grpc::ClientContext context;
  connection_.prepare(context, Deadline::in(patience_));
  Response response;
  TRY_DO(connection_.status((stub.*method)(&context, request, &response)));
  return response;
}

Result<Job> JobClient::submit(NewJob job) {
  v1::SubmitRequest request;
  request.set_name(to_valid_utf8(job.name));
  request.set_config_json(to_valid_utf8(job.config));
  request.set_request_id(job.request_id.empty() ? fresh_request_id() : to_valid_utf8(job.request_id));
  TRY(response, call(*jobs_, &JobStub::Submit, request));
  return from_wire(response);
}

Result<Job> JobClient::get(const std::string& id) {
  v1::GetRequest request;
  request.set_job_id(to_valid_utf8(id));
  TRY(response, call(*jobs_, &JobStub::Get, request));
  return from_wire(response);
}

Result<JobPage> JobClient::list(const ListQuery& query) {
  v1::ListRequest request;
  request.set_page_size(static_cast<int32_t>(query.page_size));
  request.set_page_token(to_valid_utf8(query.page_token));
  for (const JobState state : query.states) request.add_states(to_wire(state));
  TRY(response, call(*jobs_, &JobStub::List, request));
  JobPage page{.jobs = {}, .next_page_token = response.next_page_token()};
  for (const v1::Job& wire : response.jobs()) {
    TRY(job, from_wire(wire));
    page.jobs.push_back(std::move(job));
  }
  return page;
}

Result<Job> JobClient::steer(const std::string& id, Steer verb) {
  TRY(response, call(*jobs_, verb, job_request(id)));
  return from_wire(response);
}

Result<Job> JobClient::pause(const std::string& id) { return steer(id, &JobStub::Pause); }
Result<Job> JobClient::resume(const std::string& id) { return steer(id, &JobStub::Resume); }
Result<Job> JobClient::cancel(const std::string& id) { return steer(id, &JobStub::Cancel); }

Status JobClient::remove(const std::string& id) {
  return call(*jobs_, &JobStub::Delete, job_request(id)).status();
}

Result<std::vector<v1::Checkpoint>> JobClient::checkpoints(const std::string& id) {
  TRY(response, call(*jobs_, &JobStub::ListCheckpoints, job_request(id)));
  return std::vector<v1::Checkpoint>(response.checkpoints().begin(), response.checkpoints().end());
}

Status JobClient::watch(const std::string& id, int64_t from, std::stop_token stop,
                        const std::function<bool(const Event&)>& take) {
  for (;;) {
    grpc::ClientContext context;
    connection_.prepare(context, Deadline::never());
    v1::WatchRequest request;
    request.set_job_id(to_valid_utf8(id));
    request.set_from_number(from);
    const std::function<Result<bool>(const v1::JobEvent&)> each =
        [&](const v1::JobEvent& wire) -> Result<bool> {
      TRY(event, from_wire(wire));
      from = event.number + 1;
      return take(event);
    };
    const Status end =
        read_all<v1::JobEvent>(connection_, context, jobs_->Watch(&context, request), stop, each);
    if (stop.stop_requested()) return cancelled();
    // A learner that stops cancels its streams; one that dies breaks them. Either may be back soon.
    if (end.code() != Code::kUnavailable && end.code() != Code::kCancelled) return end;
    TRY_DO(connection_.wait_ready(patience_));
  }
}

Result<std::vector<v1::WorkerInfo>> JobClient::workers() {
  TRY(response, call(*monitor_, &v1::MonitorService::StubInterface::ListWorkers, v1::ListWorkersRequest()));
  return std::vector<v1::WorkerInfo>(response.workers().begin(), response.workers().end());
}

Result<std::vector<MetricRow>> JobClient::metrics(const std::string& id,
                                                  const std::vector<std::string>& names, int64_t first,
                                                  std::optional<int64_t> last) {
  std::vector<MetricRow> rows;
  v1::GetMetricsRequest request;
  request.set_job_id(to_valid_utf8(id));
  for (const std::string& name : names) request.add_names(to_valid_utf8(name));
  request.set_from_step(first);
  if (last) request.set_to_step(*last);
  for (;;) {
    TRY(response, call(*monitor_, &v1::MonitorService::StubInterface::GetMetrics, request));
    for (const v1::MetricRow& wire : response.rows()) {
      Json metrics = Json::object();
      for (const auto& [name, value] :
           std::map<std::string, double>(wire.values().begin(), wire.values().end())) {
        metrics[name] = value;
      }
      rows.push_back({wire.step(), std::move(metrics)});
    }
    if (response.next_step() <= request.from_step() || (last && response.next_step() > *last)) return rows;
    request.set_from_step(response.next_step());
  }
}

Result<v1::StatsResponse> JobClient::stats() {
  return call(*monitor_, &v1::MonitorService::StubInterface::Stats, v1::StatsRequest());
}

Status JobClient::tail_log(const std::string& id, int32_t lines, bool follow, std::stop_token stop,
                           const std::function<bool(const std::string&)>& take) {
  grpc::ClientContext context;
  connection_.prepare(context, follow ? Deadline::never() : Deadline::in(patience_));
  v1::TailLogRequest request;
  request.set_job_id(to_valid_utf8(id));
  request.set_lines(lines);
  request.set_follow(follow);
  const std::function<Result<bool>(const v1::LogLine&)> each = [&](const v1::LogLine& line) -> Result<bool> {
    return take(printable(line.text(), 8000));
  };
  return read_all<v1::LogLine>(connection_, context, monitor_->TailLog(&context, request), stop, each);
}

}  // namespace fulcrum
