#include "engine/jobs/database.h"

#include <sqlite3.h>

#include <cerrno>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

// locking_mode=EXCLUSIVE: no other process may write, and the WAL index lives in memory, not in a mapped file
// that a full disk could turn into SIGBUS. cell_size_check and quick_check find damage before it is believed.
constexpr const char* kSettings =
    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cell_size_check=ON; PRAGMA journal_mode=WAL; PRAGMA "
    "synchronous=FULL;"
    "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=67108864;";

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const Path& file) {
  std::unique_ptr<Database> database(new Database(file));
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(file.c_str(), &database->handle_, flags, nullptr);
  if (code != SQLITE_OK) return database->error(code, "cannot open");
  sqlite3_extended_result_codes(database->handle_, 1);
  TRY_DO(database->run(kSettings));
  TRY_DO(database->check());
  return database;
}

Status Database::check() {
  Statement statement(*this, "PRAGMA quick_check(1)");
  TRY(row, statement.next());
  if (row && statement.text(0) == "ok") return ok_status();
  return error(SQLITE_CORRUPT, printable(row ? statement.text(0) : "quick_check gave no answer"));
}

Database::~Database() { sqlite3_close_v2(handle_); }

Status Database::run(const char* sql) {
  if (!broken_.ok()) return broken_;
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? ok_status() : error(code, "cannot run a statement");
}

int64_t Database::last_row_id() const { return sqlite3_last_insert_rowid(handle_); }
int64_t Database::changed_rows() const { return sqlite3_changes64(handle_); }

Status Database::error(int code, std::string_view what) {
  const std::string where = "job store " + in_quotes(file_.string()) + ": ";
  const bool disk_full = (code & 0xFF) == SQLITE_FULL ||
                         ((code & 0xFF) == SQLITE_IOERR && sqlite3_system_errno(handle_) == ENOSPC);
  if (disk_full) return resource_exhausted(where + "the disk is full; make room and try again");
  const std::string message = where + std::string(what) + ": " + printable(sqlite3_errmsg(handle_));
  switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return data_loss(
          where + "the file is damaged (" + std::string(what) +
          "); restore it from a copy, or move it away together with its .created file to start empty");
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return {Code::kPermissionDenied, message};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return unavailable(where + "another process has it open");
    case SQLITE_IOERR:
      broken_ = unavailable(message + "; the store takes nothing more until the learner is started again");
      return broken_;
    case SQLITE_TOOBIG:
      return invalid_argument(message);
    default:
      return internal_error(message);
  }
}

Statement::Statement(Database& database, std::string_view sql)
    : database_(database), status_(database.broken()) {
  if (!status_.ok()) return;
  note(sqlite3_prepare_v2(database.handle(), sql.data(), static_cast<int>(sql.size()), &statement_, nullptr));
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::note(int code) {
  if (code != SQLITE_OK && status_.ok()) status_ = database_.error(code, "cannot prepare a statement");
}

Statement& Statement::bind(int64_t value) {
  if (status_.ok()) note(sqlite3_bind_int64(statement_, ++parameter_, value));
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  if (status_.ok()) {
    note(sqlite3_bind_text64(statement_, ++parameter_, value.data(), value.size(), SQLITE_TRANSIENT,
                             SQLITE_UTF8));
  }
  return *this;
}

Statement& Statement::bind_null() {
  if (status_.ok()) note(sqlite3_bind_null(statement_, ++parameter_));
  return *this;
}

Result<bool> Statement::next() {
  if (!status_.ok()) return status_;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_.error(code, "cannot read or write");
}

Status Statement::run() { return next().status(); }

int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

Transaction::~Transaction() {
  if (open_) (void)database_.run("ROLLBACK");
}

Status Transaction::begin() {
  TRY_DO(database_.run("BEGIN IMMEDIATE"));
  open_ = true;
  return ok_status();
}

Status Transaction::commit() {
  TRY_DO(database_.run("COMMIT"));
  open_ = false;
  return ok_status();
}

}  // namespace fulcrum
