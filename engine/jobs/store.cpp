#include "engine/jobs/store.h"

#include <algorithm>
#include <charconv>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "engine/jobs/database.h"

namespace fulcrum {
namespace {

constexpr const char* kSchema = R"(
CREATE TABLE jobs(
  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL,
  why TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT 1, epoch INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 0, max_steps INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL DEFAULT 0, finished_at INTEGER NOT NULL DEFAULT 0, request_id TEXT UNIQUE,
  spec_hash TEXT NOT NULL);
CREATE INDEX jobs_by_state ON jobs(state, number);
CREATE TABLE metrics(
  job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, step INTEGER NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY(job, step)) WITHOUT ROWID;
CREATE TABLE events(
  job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, number INTEGER NOT NULL,
  created_at INTEGER NOT NULL, level TEXT NOT NULL, type TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL,
  step INTEGER,
  PRIMARY KEY(job, number)) WITHOUT ROWID;
PRAGMA user_version = 1;
)";
constexpr int64_t kSchemaVersion = 1;

constexpr std::string_view kJobColumns =
    "number, name, config, state, why, revision, epoch, step, max_steps, created_at, started_at, finished_at";
constexpr std::string_view kIdPrefix = "job-";
constexpr int64_t kMaxRows = 1000;

Result<Job> read_job(const Statement& row) {
  Job job;
  job.id = numbered_name("job", row.integer(0));
  job.name = row.text(1);
  job.config = row.text(2);
  TRY(state, parse_job_state(row.text(3)));
  job.state = state;
  job.why = row.text(4);
  job.revision = row.integer(5);
  job.epoch = row.integer(6);
  job.step = row.integer(7);
  job.max_steps = row.integer(8);
  job.created_at = row.integer(9);
  job.started_at = row.integer(10);
  job.finished_at = row.integer(11);
  return job;
}

std::string spec_hash(const NewJob& job) {
  return sha256_hex(std::to_string(job.name.size()) + ":" + job.name + job.config);
}

}  // namespace

JobStore::JobStore(FileLock lock, std::unique_ptr<Database> database)
    : lock_(std::move(lock)), database_(std::move(database)) {}
JobStore::~JobStore() = default;

Result<int64_t> JobStore::number_of(const std::string& id) {
  const std::string_view digits = std::string_view(id).substr(std::min(id.size(), kIdPrefix.size()));
  int64_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (number > 0 && numbered_name("job", number) == id) return number;
  return not_found("there is no job " + in_quotes(id) + "; a job is called like 'job-000012'");
}

void JobStore::wake_watchers() {
  ++changes_;
  changed_.notify_all();
}

Result<std::unique_ptr<JobStore>> JobStore::open(const Path& folder) {
  TRY_DO(make_folders(folder));
  TRY(lock, FileLock::take(folder / "LOCK"));
  const Path file = folder / "jobs.db", created = folder / "jobs.db.created";
  if (std::filesystem::exists(created) && !std::filesystem::exists(file)) {
    return data_loss("job store " + in_quotes(file.string()) +
                     " is gone, though it was there before; restore it, or " + "remove " +
                     in_quotes(created.string()) + " to start empty");
  }
  TRY(database, Database::open(file));
  std::unique_ptr<JobStore> store(new JobStore(std::move(lock), std::move(database)));
  TRY_DO(store->migrate());
  if (!std::filesystem::exists(created)) TRY_DO(write_file_atomic(created, ""));
  return store;
}

Status JobStore::migrate() {
  int64_t version = 0;
  {
    Statement statement(*database_, "PRAGMA user_version");
    TRY_DO(statement.next());
    version = statement.integer(0);
  }
  if (version == kSchemaVersion) return ok_status();
  if (version != 0) {
    return failed_precondition("the job store has format " + std::to_string(version) +
                               "; this program knows " + std::to_string(kSchemaVersion) +
                               ": use the program that wrote it");
  }
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  TRY_DO(database_->run(kSchema));
  return transaction.commit();
}

Result<Job> JobStore::create(const NewJob& job) {
  const std::lock_guard lock(mutex_);
  const std::string hash = spec_hash(job);
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  TRY(existing, find_request(job, hash));
  if (existing) return *existing;
  Statement insert(
      *database_,
      "INSERT INTO jobs(name, config, state, created_at, spec_hash, request_id) VALUES(?, ?, ?, ?, ?, ?)");
  insert.bind(job.name)
      .bind(job.config)
      .bind(job_state_name(JobState::kQueued))
      .bind(unix_seconds())
      .bind(hash);
  job.request_id.empty() ? insert.bind_null() : insert.bind(job.request_id);
  TRY_DO(insert.run());
  const int64_t number = database_->last_row_id();
  TRY_DO(add_event(number, {.type = "state", .message = "queued", .data = Json{{"state", "queued"}}}));
  TRY(created, find(number));
  TRY_DO(transaction.commit());
  wake_watchers();
  return created;
}

Result<std::optional<Job>> JobStore::find_request(const NewJob& job, const std::string& hash) {
  if (job.request_id.empty()) return std::optional<Job>();
  Statement select(*database_, "SELECT number, spec_hash FROM jobs WHERE request_id = ?");
  TRY(found, select.bind(job.request_id).next());
  if (!found) return std::optional<Job>();
  const int64_t number = select.integer(0);
  if (select.text(1) != hash) {
    return already_exists("request " + in_quotes(job.request_id) + " has already made " +
                          numbered_name("job", number) + " from another job file; choose another request id");
  }
  TRY(existing, find(number));
  return std::optional<Job>(std::move(existing));
}

Result<Job> JobStore::find(int64_t number) {
  Statement select(*database_, "SELECT " + std::string(kJobColumns) + " FROM jobs WHERE number = ?");
  TRY(found, select.bind(number).next());
  if (!found) return not_found("there is no " + numbered_name("job", number));
  return read_job(select);
}

Result<Job> JobStore::get(const std::string& id) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  return find(number);
}

Result<JobPage> JobStore::list(const ListQuery& query) {
  if (query.page_size < 1 || query.page_size > kMaxRows) {
    return invalid_argument("page_size must be 1 to " + std::to_string(kMaxRows));
  }
  int64_t below = INT64_MAX;
  if (!query.page_token.empty()) {
    const Result<int64_t> number = number_of(query.page_token);
    if (!number.ok())
      return invalid_argument("page token " + in_quotes(query.page_token) + " is not one of this service");
    below = *number;
  }
  std::vector<std::string> names;
  for (const JobState state : query.states) names.push_back("'" + std::string(job_state_name(state)) + "'");
  const std::string filter = names.empty() ? "" : " AND state IN (" + join(names, ", ") + ")";

  const std::lock_guard lock(mutex_);
  Statement select(*database_, "SELECT " + std::string(kJobColumns) + " FROM jobs WHERE number < ?" + filter +
                                   " ORDER BY number DESC LIMIT ?");
  select.bind(below).bind(query.page_size + 1);
  JobPage page;
  while (true) {
    TRY(more, select.next());
    if (!more) return page;
    if (static_cast<int64_t>(page.jobs.size()) == query.page_size) {
      page.next_page_token = page.jobs.back().id;
      return page;
    }
    TRY(job, read_job(select));
    page.jobs.push_back(std::move(job));
  }
}

Result<std::optional<Job>> JobStore::next_queued() {
  const std::lock_guard lock(mutex_);
  Statement select(*database_, "SELECT " + std::string(kJobColumns) +
                                   " FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1");
  TRY(found, select.next());
  if (!found) return std::optional<Job>();
  TRY(job, read_job(select));
  return std::optional<Job>(std::move(job));
}

Result<Job> JobStore::move(const std::string& id, int64_t revision, JobState next, const std::string& why,
                           EventLevel level) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  TRY(job, find(number));
  if (job.revision != revision) {
    return Status(Code::kAborted,
                  id + " has changed meanwhile: it is " + std::string(job_state_name(job.state)));
  }
  TRY(moved, change_state(job, next, why, level));
  TRY_DO(transaction.commit());
  wake_watchers();
  return moved;
}

Result<Job> JobStore::change_state(const Job& job, JobState next, const std::string& why, EventLevel level) {
  if (!may_move(job.state, next)) {
    return failed_precondition(job.id + " is " + std::string(job_state_name(job.state)) +
                               " and cannot become " + std::string(job_state_name(next)));
  }
  TRY(number, number_of(job.id));
  const bool begins = next == JobState::kValidatingFiles;
  const int64_t now = unix_seconds();
  Statement update(
      *database_,
      "UPDATE jobs SET state = ?, why = ?, revision = revision + 1, epoch = epoch + ?, started_at = ?, "
      "finished_at = ? WHERE number = ?");
  update.bind(job_state_name(next)).bind(why).bind(int64_t{begins});
  update.bind(begins && job.started_at == 0 ? now : job.started_at)
      .bind(is_terminal(next) ? now : 0)
      .bind(number);
  TRY_DO(update.run());
  Event event{.level = level,
              .type = "state",
              .message = std::string(job_state_name(next)) + (why.empty() ? "" : ": " + why)};
  if (next == JobState::kFailed) event.level = EventLevel::kError;
  event.data = Json{{"state", job_state_name(next)}, {"from", job_state_name(job.state)}};
  TRY_DO(add_event(number, event));
  return find(number);
}

Status JobStore::remove(const std::string& id) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  TRY(job, find(number));
  if (!is_terminal(job.state)) {
    return failed_precondition(id + " is " + std::string(job_state_name(job.state)) + "; cancel it first");
  }
  Statement statement(*database_, "DELETE FROM jobs WHERE number = ?");
  TRY_DO(statement.bind(number).run());
  wake_watchers();  // its watchers find it gone
  return ok_status();
}

Result<int64_t> JobStore::recover() {
  const std::lock_guard lock(mutex_);
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  std::vector<Job> active;
  {
    Statement select(*database_, "SELECT " + std::string(kJobColumns) +
                                     " FROM jobs WHERE state NOT IN ('queued', " +
                                     "'paused', 'succeeded', 'failed', 'cancelled')");
    while (true) {
      TRY(more, select.next());
      if (!more) break;
      TRY(job, read_job(select));
      active.push_back(std::move(job));
    }
  }
  for (const Job& job : active)
    TRY_DO(change_state(job, after_restart(job.state), "the learner was started again"));
  TRY_DO(transaction.commit());
  return static_cast<int64_t>(active.size());
}

Status JobStore::check_epoch(int64_t number, int64_t epoch) {
  TRY(job, find(number));
  if (job.epoch == epoch && !is_terminal(job.state)) return ok_status();
  return {Code::kAborted, job.id + " is " + std::string(job_state_name(job.state)) + " in epoch " +
                              std::to_string(job.epoch) + "; epoch " + std::to_string(epoch) + " is over"};
}

Status JobStore::progress(const std::string& id, int64_t epoch, int64_t step, int64_t max_steps) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  TRY_DO(check_epoch(number, epoch));
  Statement update(*database_, "UPDATE jobs SET step = ?, max_steps = ? WHERE number = ?");
  return update.bind(step).bind(max_steps).bind(number).run();
}

}  // namespace fulcrum
