// The learner's memory: jobs, their events and their metrics, in one SQLite file. What a call has
// acknowledged is on the disk, and each change of a job is one transaction with the event that tells of it,
// so that a watcher that resumes from an event number misses nothing. Called by JobRunner and the job
// service. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/jobs/event.h"
#include "engine/jobs/file_lock.h"
#include "engine/jobs/metrics_log.h"
#include "engine/jobs/state.h"

namespace fulcrum {

class Database;
class Statement;

struct Job {
  std::string id;  // "job-000012"
  std::string name;
  std::string config;  // the job file, as it was submitted
  JobState state = JobState::kQueued;
  std::string why;       // why it is in that state; the error of a failed job
  int64_t revision = 1;  // grows with every move; see JobStore::move
  int64_t epoch = 0;     // how often a learner took it up: PolicyVersion::epoch, a fence
  int64_t step = 0;      // progress
  int64_t max_steps = 0;
  int64_t created_at = 0;  // Unix seconds; 0: not yet
  int64_t started_at = 0;
  int64_t finished_at = 0;
};

struct NewJob {
  std::string name;
  std::string config;
  std::string request_id;  // chosen by the client; "": the call is not repeatable
};

struct ListQuery {
  std::vector<JobState> states;  // empty: any
  int64_t page_size = 50;        // 1 to 1000
  std::string page_token;        // from the page before; "": the newest
};
struct JobPage {
  std::vector<Job> jobs;        // newest first
  std::string next_page_token;  // "": the last page
};

struct MetricRow {
  int64_t step = 0;
  Json metrics;
};

class JobStore {
 public:
  // Opens or makes <folder>/jobs.db. kFailedPrecondition: another learner uses the folder (its pid is named).
  // kDataLoss: the file is damaged, or gone though it was there before; nothing starts silently empty.
  static Result<std::unique_ptr<JobStore>> open(const Path& folder);
  ~JobStore();

  // Queues a job. The same request_id again gives the same job if name and config are the same, else
  // kAlreadyExists.
  Result<Job> create(const NewJob& job);
  Result<Job> get(const std::string& id);
  Result<JobPage> list(const ListQuery& query);
  // The queued job that was submitted first.
  Result<std::optional<Job>> next_queued();

  // Moves a job that is still at `revision` (else kAborted) along the table of state.h (else
  // kFailedPrecondition). The move to validating_files begins a new epoch. Writes an event of type "state",
  // of level error where the job failed.
  Result<Job> move(const std::string& id, int64_t revision, JobState next, const std::string& why,
                   EventLevel level = EventLevel::kInfo);
  // Only after its end, else kFailedPrecondition. Its number is never given again.
  Status remove(const std::string& id);
  // At the start of the learner: jobs that were active go where after_restart() says. How many.
  Result<int64_t> recover();

  // Gives the event the job's next number.
  Result<int64_t> append_event(const std::string& id, const Event& event);
  // Events from number `from` on (1 is the first), at most `limit`.
  Result<std::vector<Event>> events(const std::string& id, int64_t from, int64_t limit = 1000);
  // The same, waiting until there is one: empty after `timeout`, kCancelled after a stop request.
  Result<std::vector<Event>> wait_events(const std::string& id, int64_t from,
                                         std::chrono::milliseconds timeout, std::stop_token stop);

  // Progress of the epoch that is running; kAborted if the job has ended or a later epoch runs.
  Status progress(const std::string& id, int64_t epoch, int64_t step, int64_t max_steps);
  // The numbers of a step and an event of type "metrics", once: a step that is done again adds nothing if it
  // agrees, else the new row replaces the old, the event is repeated and a warning event names step and field
  // of each difference (their number is returned).
  Result<int64_t> record_metrics(const std::string& id, int64_t epoch, int64_t step, const Json& metrics);
  // Rows of steps [first, last] in order, at most `limit`.
  Result<std::vector<MetricRow>> metrics(const std::string& id, int64_t first, int64_t last,
                                         int64_t limit = 1000);

 private:
  JobStore(FileLock lock, std::unique_ptr<Database> database);
  static Result<int64_t> number_of(const std::string& id);
  Status migrate();
  Result<Job> find(int64_t number);
  Result<std::optional<Job>> find_request(const NewJob& job, const std::string& hash);
  Result<Job> change_state(const Job& job, JobState next, const std::string& why,
                           EventLevel level = EventLevel::kInfo);
  Result<int64_t> add_event(int64_t number, const Event& event, std::optional<int64_t> step = std::nullopt);
  Result<std::vector<Event>> read_events(int64_t number, int64_t from, int64_t limit);
  Result<std::optional<Json>> find_metrics(int64_t number, int64_t step);
  Status replace_metrics(int64_t number, int64_t step, const Json& metrics);
  Status check_epoch(int64_t number, int64_t epoch);
  void wake_watchers();

  std::mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t changes_ = 0;  // counts what watchers may want to see
  FileLock lock_;
  std::unique_ptr<Database> database_;
};

}  // namespace fulcrum
