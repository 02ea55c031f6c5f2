#include "engine/rpc/metrics_endpoint.h"

#include <httplib.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <optional>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/core/address.h"
#include "engine/core/clock.h"
#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/jobs/store.h"
#include "engine/rpc/job_counts.h"
#include "engine/rpc/worker_service.h"

namespace fulcrum {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// What the hub counts. What is not here yet is shown as a counter under its own name.
struct FleetNumber {
  std::string_view name, help;
  MetricType type = MetricType::Counter;
};
constexpr FleetNumber kFleetNumbers[] = {
    {"leases_expired", "Leases of this job that ran out and went to somebody else"},
    {"messages_refused", "Messages that did not keep the protocol"},
    {"requests_leased", "Prompts of the batch that workers hold", MetricType::Gauge},
    {"requests_waiting", "Prompts of the batch that no worker holds", MetricType::Gauge},
    {"results_accepted", "Groups of completions that count"},
    {"results_duplicate", "Groups that had come before"},
    {"results_fenced", "Completions under a lease that had passed"},
    {"results_invalid", "Groups that were not believed"},
    {"workers_connected", "Rollout workers connected now", MetricType::Gauge},
    {"workers_joined", "Registrations of rollout workers"},
    {"workers_refused", "Rollout workers that were turned away"},
};

FleetNumber fleet_number(std::string_view name) {
  for (const FleetNumber& number : kFleetNumbers) {
    if (number.name == name) return number;
  }
  return {name, name};
}

MetricFamily family(const std::string& name, const std::string& help, MetricType type = MetricType::Gauge) {
  return {.name = "fulcrum_" + name, .help = help, .type = type, .metric = {}};
}

void add(MetricFamily& to, double value, Labels labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (to.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  to.metric.push_back(std::move(metric));
}

// One scrape. What cannot be read is left out and said in the log: a number that is absent raises an alarm, a
// made-up one does not.
class LearnerNumbers {
 public:
  LearnerNumbers(JobStore& store, const WorkerHub& hub)
      : store_(store), hub_(hub), started_(system_clock().now()) {}

  std::string page() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families());
    return text.str();
  }

 private:
  std::vector<MetricFamily> families() const {
    std::vector<MetricFamily> all;
    add_process(all);
    add_fleet(all);
    Status status = add_jobs(all);
    if (status.ok()) status = add_running(all);
    if (!status.ok()) log_warn("metrics: the jobs cannot be read: " + status.message());
    return all;
  }

  void add_process(std::vector<MetricFamily>& all) const {
    add(all.emplace_back(family("build_info", "The program that runs; always 1")), 1,
        {{"version", FULCRUM_VERSION}});
    add(all.emplace_back(family("uptime_seconds", "How long the learner has been up")),
        seconds(system_clock().now() - started_));
  }

  void add_fleet(std::vector<MetricFamily>& all) const {
    for (const auto& [name, count] : hub_.counters()) {
      const FleetNumber number = fleet_number(name);
      add(all.emplace_back(family(number.type == MetricType::Counter ? name + "_total" : name,
                                  std::string(number.help), number.type)),
          static_cast<double>(count));
    }
  }

  Status add_jobs(std::vector<MetricFamily>& all) const {
    TRY(counts, jobs_by_state(store_));
    MetricFamily jobs = family("jobs", "Jobs by state");
    for (const auto& [state, count] : counts) {
      add(jobs, static_cast<double>(count), {{"state", std::string(job_state_name(state))}});
    }
    all.push_back(std::move(jobs));
    return ok_status();
  }

  // Jobs a learner works on, and the metrics of the last step of each.
  Status add_running(std::vector<MetricFamily>& all) const {
    MetricFamily step = family("job_step", "Optimizer steps the job has done");
    MetricFamily max_steps = family("job_max_steps", "Optimizer steps the job is to do");
    MetricFamily metric = family("metric", "A metric of the job's last step (`fulcrum explain NAME`)");
    ListQuery query;
    for (const JobState state : kJobStates) {
      if (is_active(state)) query.states.push_back(state);
    }
    TRY(page, store_.list(query));
    for (const Job& job : page.jobs) {
      add(step, static_cast<double>(job.step), {{"job", job.id}});
      add(max_steps, static_cast<double>(job.max_steps), {{"job", job.id}});
      TRY(rows, store_.metrics(job.id, job.step, job.step));
      for (const MetricRow& row : rows) add_row(metric, job.id, row.metrics);
    }
    for (MetricFamily* each : {&step, &max_steps, &metric}) all.push_back(std::move(*each));
    return ok_status();
  }

  static void add_row(MetricFamily& to, const std::string& job, const Json& metrics) {
    for (const auto& [name, value] : metrics.items()) {
      if (value.is_number()) add(to, value.get<double>(), {{"job", job}, {"name", to_valid_utf8(name)}});
    }
  }

  JobStore& store_;
  const WorkerHub& hub_;
  const Instant started_;
};

// Small and short-tempered: one page, a scrape every few seconds.
void configure(httplib::Server& server) {
  constexpr size_t kThreads = 2, kMaxRequestBytes = 4096;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };  // the server deletes it
  server.set_payload_max_length(kMaxRequestBytes);
  server.set_keep_alive_max_count(1);
  server.set_keep_alive_timeout(1);  // how long a connection may say nothing; stopping waits for it
  server.set_read_timeout(std::chrono::seconds(1));
  server.set_write_timeout(std::chrono::seconds(5));
  // Not the library's own SO_REUSEPORT, under which two learners would share a port silently.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

}  // namespace

struct MetricsEndpoint::Parts {
  ~Parts() {
    // stop() does nothing before the loop of listen_after_bind() has begun.
    while (thread.joinable() && !server.is_running() && !ended) std::this_thread::yield();
    server.stop();
    if (thread.joinable()) thread.join();
  }

  void answer(httplib::Response& response) const {
    if (!shown) {
      response.status = 503;
      return;
    }
    response.set_content(numbers->page(), "text/plain; version=0.0.4; charset=utf-8");
  }

  std::optional<LearnerNumbers> numbers;
  std::atomic<bool> shown = false;  // then `numbers` does not change
  httplib::Server server;
  std::atomic<bool> ended = false;
  std::string address;
  std::thread thread;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::start(const MetricsEndpointOptions& options) {
  TRY(address, parse_address(options.listen));
  if (!options.other_machines && !is_loopback(address.host)) {
    return invalid_argument("refusing to show /metrics on " + in_quotes(options.listen) +
                            ", which other machines can reach: it is plain HTTP without a token; ask for it "
                            "with --metrics-other-machines, or listen on 127.0.0.1");
  }
  auto parts = std::make_unique<Parts>();
  configure(parts->server);
  parts->server.Get("/metrics", [&p = *parts](const httplib::Request&, httplib::Response& response) {
    p.answer(response);
  });
  if (address.port == 0) {
    address.port = parts->server.bind_to_any_port(address.host);
  } else if (!parts->server.bind_to_port(address.host, address.port)) {
    address.port = -1;
  }
  if (address.port < 0) {  // the library says no more than that it could not
    return failed_precondition("cannot show /metrics on " + in_quotes(options.listen) +
                               ": is the port in use, or the address of another machine?");
  }
  parts->address = options.listen.substr(0, options.listen.rfind(':') + 1) + std::to_string(address.port);
  parts->thread = std::thread([&p = *parts] {
    p.server.listen_after_bind();
    p.ended = true;
  });
  log_info("metrics: http://" + parts->address + "/metrics");
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(parts)));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
MetricsEndpoint::~MetricsEndpoint() = default;

void MetricsEndpoint::show(JobStore& store, const WorkerHub& hub) {
  parts_->numbers.emplace(store, hub);
  parts_->shown = true;
}

std::string MetricsEndpoint::address() const { return parts_->address; }

}  // namespace fulcrum
