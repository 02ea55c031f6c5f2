#include "engine/rpc/monitor_service.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <deque>
#include <limits>
#include <set>

#include "engine/core/text.h"
#include "engine/rpc/event_stream.h"
#include "engine/rpc/job_counts.h"
#include "engine/rpc/limits.h"
#include "engine/rpc/reactor.h"

namespace fulcrum {
namespace {

constexpr int64_t kMaxRows = 1000;
constexpr size_t kMaxResponseBytes = kMaxMessageBytes / 2;
constexpr int64_t kDefaultLines = 100, kMaxLines = 100'000;

v1::MetricRow row_to_wire(const MetricRow& row, const std::set<std::string>& names) {
  v1::MetricRow wire;
  wire.set_step(row.step);
  for (const auto& [name, value] : row.metrics.items()) {
    if (!value.is_number() || (!names.empty() && !names.contains(name))) continue;
    (*wire.mutable_values())[name] = value.get<double>();
  }
  return wire;
}

Result<v1::GetMetricsResponse> metrics(JobStore& store, const v1::GetMetricsRequest& request) {
  const int64_t last = request.has_to_step() ? request.to_step() : std::numeric_limits<int64_t>::max();
  if (request.from_step() > last) return invalid_argument("from_step is after to_step");
  TRY(rows, store.metrics(request.job_id(), request.from_step(), last, kMaxRows));
  const std::set<std::string> names(request.names().begin(), request.names().end());
  v1::GetMetricsResponse response;
  size_t bytes = 0;
  for (const MetricRow& row : rows) {
    v1::MetricRow wire = row_to_wire(row, names);
    bytes += wire.ByteSizeLong();
    if (bytes > kMaxResponseBytes && response.rows_size() > 0) {
      response.set_next_step(row.step);
      return response;
    }
    if (!wire.values().empty() || names.empty()) *response.add_rows() = std::move(wire);
  }
  if (static_cast<int64_t>(rows.size()) == kMaxRows) response.set_next_step(rows.back().step + 1);
  return response;
}

Result<v1::StatsResponse> stats(JobStore& store, const WorkerHub& hub, Duration uptime) {
  v1::StatsResponse response;
  response.set_version(FULCRUM_VERSION);
  response.set_uptime_seconds(std::chrono::duration_cast<std::chrono::seconds>(uptime).count());
  for (const auto& [name, count] : hub.counters()) (*response.mutable_counters())[name] = count;
  TRY(jobs, jobs_by_state(store));
  for (const auto& [state, count] : jobs) {
    if (count > 0) (*response.mutable_jobs_by_state())[std::string(job_state_name(state))] = count;
  }
  return response;
}

Status tail(JobStore& store, const v1::TailLogRequest& request, StreamWriter<v1::LogLine>& out) {
  if (request.lines() < 0 || request.lines() > kMaxLines) return invalid_argument("lines is out of range");
  const auto keep = static_cast<size_t>(request.lines() == 0 ? kDefaultLines : request.lines());
  const auto write = [&](const Event& event) {
    v1::LogLine line;
    line.set_text(log_text(event));
    return out.write(line);
  };
  std::deque<Event> last;
  TRY_DO(follow_events(store, request.job_id(), 1, /*follow=*/false, out.stop(), [&](const Event& event) {
    last.push_back(event);
    if (last.size() > keep) last.pop_front();
    return !out.stop().stop_requested();
  }));
  for (const Event& event : last) {
    if (!write(event)) return cancelled();
  }
  if (!request.follow()) return ok_status();
  return follow_events(store, request.job_id(), last.empty() ? 1 : last.back().number + 1, /*follow=*/true,
                       out.stop(), write);
}

}  // namespace

std::string log_text(const Event& event) {
  std::array<char, 32> when{};
  const std::time_t time = event.created_at;
  std::tm utc{};
  if (::gmtime_r(&time, &utc) != nullptr) std::strftime(when.data(), when.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return std::string(when.data()) + " " + std::string(event_level_name(event.level)) + " " +
         printable(event.message, 4000);
}

grpc::ServerUnaryReactor* MonitorServiceServer::ListWorkers(grpc::CallbackServerContext*,
                                                            const v1::ListWorkersRequest*,
                                                            v1::ListWorkersResponse* response) {
  return answer(calls_, response, [this](std::stop_token) -> Result<v1::ListWorkersResponse> {
    v1::ListWorkersResponse workers;
    for (v1::WorkerInfo& worker : hub_.workers()) *workers.add_workers() = std::move(worker);
    return workers;
  });
}

grpc::ServerUnaryReactor* MonitorServiceServer::GetMetrics(grpc::CallbackServerContext*,
                                                           const v1::GetMetricsRequest* request,
                                                           v1::GetMetricsResponse* response) {
  return answer(calls_, response, [this, request](std::stop_token) { return metrics(store_, *request); });
}

grpc::ServerUnaryReactor* MonitorServiceServer::Stats(grpc::CallbackServerContext*, const v1::StatsRequest*,
                                                      v1::StatsResponse* response) {
  return answer(calls_, response,
                [this](std::stop_token) { return stats(store_, hub_, system_clock().now() - started_); });
}

grpc::ServerWriteReactor<v1::LogLine>* MonitorServiceServer::TailLog(grpc::CallbackServerContext* context,
                                                                     const v1::TailLogRequest* request) {
  return stream<v1::LogLine>(context, tails_, [this, request](StreamWriter<v1::LogLine>& out) {
    return tail(store_, *request, out);
  });
}

}  // namespace fulcrum
