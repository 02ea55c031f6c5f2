// The store's logs: events and metrics of a job.
#include <algorithm>

#include "engine/core/text.h"
#include "engine/jobs/database.h"
#include "engine/jobs/store.h"

namespace fulcrum {
namespace {

constexpr int64_t kMaxRows = 10000;

Result<Event> read_event(const Statement& row) {
  Event event;
  event.number = row.integer(0);
  event.created_at = row.integer(1);
  TRY(level, parse_event_level(row.text(2)));
  event.level = level;
  event.type = row.text(3);
  event.message = row.text(4);
  TRY(data, parse_json(row.text(5)));
  event.data = std::move(data);
  return event;
}

}  // namespace

Result<int64_t> JobStore::add_event(int64_t number, const Event& event, std::optional<int64_t> step) {
  int64_t next = 1;
  {
    Statement last(*database_, "SELECT MAX(number) FROM events WHERE job = ?");
    TRY_DO(last.bind(number).next());
    next = last.integer(0) + 1;
  }
  Statement insert(*database_, "INSERT INTO events VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(number).bind(next).bind(unix_seconds()).bind(event_level_name(event.level)).bind(event.type);
  insert.bind(to_valid_utf8(event.message)).bind(dump_json(event.data));
  step ? insert.bind(*step) : insert.bind_null();
  TRY_DO(insert.run());
  return next;
}

Result<int64_t> JobStore::append_event(const std::string& id, const Event& event) {
  TRY(job, number_of(id));
  const std::lock_guard lock(mutex_);
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  TRY_DO(find(job));
  TRY(number, add_event(job, event));
  TRY_DO(transaction.commit());
  wake_watchers();
  return number;
}

// A metrics event holds no numbers of its own: they stand once, in the table of metrics.
Result<std::vector<Event>> JobStore::read_events(int64_t number, int64_t from, int64_t limit) {
  TRY_DO(find(number));
  Statement select(
      *database_,
      "SELECT e.number, e.created_at, e.level, e.type, e.message, COALESCE(m.data, e.data), "
      "COALESCE(m.step, -1) FROM events e "
      "LEFT JOIN metrics m ON m.job = e.job AND m.step = e.step WHERE e.job = ? AND e.number >= ? "
      "ORDER BY e.number LIMIT ?");
  select.bind(number).bind(from).bind(std::clamp<int64_t>(limit, 1, kMaxRows));
  std::vector<Event> events;
  while (true) {
    TRY(more, select.next());
    if (!more) return events;
    TRY(event, read_event(select));
    if (const int64_t step = select.integer(6); step >= 0) {
      Json numbers = {{"step", step}};
      numbers.update(event.data);
      event.data = std::move(numbers);
    }
    events.push_back(std::move(event));
  }
}

Result<std::vector<Event>> JobStore::events(const std::string& id, int64_t from, int64_t limit) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  return read_events(number, from, limit);
}

Result<std::vector<Event>> JobStore::wait_events(const std::string& id, int64_t from,
                                                 std::chrono::milliseconds timeout, std::stop_token stop) {
  TRY(number, number_of(id));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::unique_lock lock(mutex_);
  while (true) {
    if (stop.stop_requested()) return cancelled();
    Result<std::vector<Event>> found = read_events(number, from, kMaxRows);
    if (!found.ok() || !found->empty()) return found;
    const bool more =
        changed_.wait_until(lock, stop, deadline, [&, seen = changes_] { return changes_ != seen; });
    if (!more && !stop.stop_requested()) return found;
  }
}

Result<std::optional<Json>> JobStore::find_metrics(int64_t number, int64_t step) {
  Statement select(*database_, "SELECT data FROM metrics WHERE job = ? AND step = ?");
  TRY(found, select.bind(number).bind(step).next());
  if (!found) return std::optional<Json>();
  TRY(metrics, parse_json(select.text(0)));
  return std::optional<Json>(std::move(metrics));
}

Status JobStore::replace_metrics(int64_t number, int64_t step, const Json& metrics) {
  Statement replace(*database_, "INSERT OR REPLACE INTO metrics VALUES(?, ?, ?)");
  TRY_DO(replace.bind(number).bind(step).bind(dump_json(metrics)).run());
  const Event event{.type = "metrics", .message = "step " + std::to_string(step)};
  return to_status(add_event(number, event, step));
}

Result<int64_t> JobStore::record_metrics(const std::string& id, int64_t epoch, int64_t step,
                                         const Json& metrics) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  Transaction transaction(*database_);
  TRY_DO(transaction.begin());
  TRY_DO(check_epoch(number, epoch));
  Statement update(*database_, "UPDATE jobs SET step = ? WHERE number = ?");
  TRY_DO(update.bind(step).bind(number).run());

  TRY(old, find_metrics(number, step));
  std::vector<MetricDifference> differences;
  if (old) differences = compare_metrics(step, *old, metrics);
  if (!old || !differences.empty()) TRY_DO(replace_metrics(number, step, metrics));
  for (const MetricDifference& d : differences) {
    TRY_DO(add_event(
        number,
        {.level = EventLevel::kWarn,
         .message = describe(d),
         .data = Json{{"step", d.step}, {"field", d.field}, {"before", d.before}, {"after", d.after}}}));
  }
  TRY_DO(transaction.commit());
  wake_watchers();
  return static_cast<int64_t>(differences.size());
}

Result<std::vector<MetricRow>> JobStore::metrics(const std::string& id, int64_t first, int64_t last,
                                                 int64_t limit) {
  TRY(number, number_of(id));
  const std::lock_guard lock(mutex_);
  TRY_DO(find(number));
  Statement select(
      *database_,
      "SELECT step, data FROM metrics WHERE job = ? AND step BETWEEN ? AND ? ORDER BY step LIMIT ?");
  select.bind(number).bind(first).bind(last).bind(std::clamp<int64_t>(limit, 1, kMaxRows));
  std::vector<MetricRow> rows;
  while (true) {
    TRY(more, select.next());
    if (!more) return rows;
    TRY(metrics, parse_json(select.text(1)));
    rows.push_back({select.integer(0), std::move(metrics)});
  }
}

}  // namespace fulcrum
