// JSON Lines: one object a line. Called by the data set (a broken line stops it) and by the row tools of the
// command line (a broken line becomes an error row and reading goes on). A reader belongs to one thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

inline constexpr size_t kMaxJsonlLine = size_t{16} << 20;

// One line as a row. kInvalidArgument if it is longer than kMaxJsonlLine, not UTF-8, broken JSON or not an
// object.
Result<Json> parse_row(std::string_view line);

class JsonlReader {
 public:
  // "-" reads standard input. kNotFound, kPermissionDenied, kInvalidArgument (a folder).
  static Result<JsonlReader> open(const Path& path);

  // The next row, or "file:line: what" of parse_row(), after which reading goes on with the next line. Blank
  // lines are skipped. nullopt at the end; a read error is kUnavailable, once, and then the end.
  std::optional<Result<Json>> next();

  // The line of the row that next() gave last, without blanks around it; until the next call.
  std::string_view text() const;

  // The 1-based line of the row that next() gave last, and "file:line" of it.
  int64_t line() const { return line_number_; }
  std::string where() const;

 private:
  struct Close {
    void operator()(std::FILE* file) const;
  };
  JsonlReader(std::string name, std::FILE* file)
      : name_(std::move(name)), file_(file), buffer_(size_t{1} << 16) {}

  enum class Read { kLine, kTooLong, kEnd, kFailed };
  Read read_line();
  bool refill();

  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // what is unread of buffer_
  std::string line_;
  int64_t line_number_ = 0;
  bool done_ = false;
};

struct JsonlRow {
  int64_t line = 0;  // 1-based
  Json columns;
};

// All rows of a file, in order. The first broken line is the error.
Result<std::vector<JsonlRow>> read_jsonl(const Path& path);

}  // namespace fulcrum
