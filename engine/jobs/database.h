// SQLite with errors as values, for JobStore only. Statements are made for one use: prepare, bind in order,
// step. Not thread-safe: the store guards it with its mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/core/files.h"
#include "engine/core/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fulcrum {

class Database {
 public:
  // Opens or creates; WAL, synchronous=FULL (what was committed survives power loss), one process at a time.
  // Checks the whole file: kDataLoss with its name if it is damaged.
  static Result<std::unique_ptr<Database>> open(const Path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Statements without parameters and rows; several are separated by ';'.
  Status run(const char* sql);

  int64_t last_row_id() const;
  int64_t changed_rows() const;  // by the last statement

  // The Status of a result code of SQLite. A failed write or sync other than a full disk makes the database
  // refuse everything from then on: what the kernel lost after a failed fsync, a second try would not bring
  // back.
  Status error(int code, std::string_view what);
  const Status& broken() const { return broken_; }
  sqlite3* handle() const { return handle_; }

 private:
  explicit Database(Path file) : file_(std::move(file)) {}
  Status check();

  Path file_;
  sqlite3* handle_ = nullptr;
  Status broken_;
};

// One statement. Errors of preparing and binding come out of the first next() or run().
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // The next parameter. Texts are copied.
  Statement& bind(int64_t value);
  Statement& bind(std::string_view value);
  Statement& bind_null();

  Result<bool> next();  // whether there is a row
  Status run();         // for statements without rows

  int64_t integer(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;

 private:
  void note(int code);

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int parameter_ = 0;
  Status status_;
};

// Everything between begin() and commit() happens or nothing does; rolled back when it goes out of scope
// before.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  Status begin();
  Status commit();

 private:
  Database& database_;
  bool open_ = false;
};

}  // namespace fulcrum
