#include "engine/cli/rows.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

#include "engine/core/text.h"
#include "engine/data/jsonl.h"

namespace fulcrum::cli {
namespace {

// What may wait to be written together with what follows. Rows of a file come at once, and a system call for
// each costs as much as some of the tools; a tool that takes its time over a row loses none of that when it
// is killed.
constexpr size_t kMaxWaitingBytes = size_t{1} << 16;
constexpr std::chrono::milliseconds kMaxWaiting(100);

bool is_regular(const std::string& path) {
  std::error_code ignored;
  return path != "-" && std::filesystem::is_regular_file(path, ignored);
}

// Where rows go: a file or stdout, always whole rows. With `flush()` all rows so far are there; before it,
// those of an input that may keep us waiting (a pipe, a terminal) are too.
class RowWriter {
 public:
  static Result<RowWriter> open(const RowFiles& files) {
    const bool gather = is_regular(files.input);
    if (files.output == "-") return RowWriter("standard output", stdout, gather);
    std::error_code ignored;
    if (std::filesystem::equivalent(files.input, files.output, ignored)) {
      return invalid_argument(in_quotes(files.output) + " is read and cannot be written at the same time");
    }
    std::FILE* file = std::fopen(files.output.c_str(), "wbe");
    if (file == nullptr) return from_errno(errno, "cannot write", files.output);
    return RowWriter(files.output, file, gather);
  }
  Status write(std::string_view rows) {
    waiting_ += rows;
    const auto now = std::chrono::steady_clock::now();
    if (gather_ && waiting_.size() < kMaxWaitingBytes && now - flushed_ < kMaxWaiting) return ok_status();
    flushed_ = now;
    return flush();
  }
  Status flush() {
    const std::string rows = std::exchange(waiting_, {});
    const bool whole = std::fwrite(rows.data(), 1, rows.size(), file_.get()) == rows.size();
    return whole && std::fflush(file_.get()) == 0 ? ok_status() : from_errno(errno, "cannot write", name_);
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };
  RowWriter(std::string name, std::FILE* file, bool gather)
      : name_(std::move(name)), file_(file), gather_(gather) {}

  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  bool gather_;
  std::string waiting_;
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

// A row as it was read: parsed or, if that failed, the error in its place.
struct ReadRow {
  Row row;
  Status status;
  std::string source;  // its line; "" if that is no row
};

// At most `batch` rows; none at the end of the input. An error is the file's, not a row's.
Result<std::vector<ReadRow>> read_batch(JsonlReader& reader, size_t batch) {
  std::vector<ReadRow> rows;
  while (rows.size() < batch) {
    std::optional<Result<Json>> row = reader.next();
    if (!row) break;
    if (row->ok()) {
      rows.push_back({{.fields = std::move(*row).value()}, ok_status(), std::string(reader.text())});
    } else if (row->status().code() != Code::kInvalidArgument) {
      return row->status();
    } else {
      rows.push_back({{.fields = {{"line", reader.line()}}}, row->status(), {}});
    }
  }
  return rows;
}

// Runs `add` over the rows that could be parsed; false if any row of the batch failed.
bool add_fields(std::vector<ReadRow>& rows, const AddFields& add) {
  std::vector<Row> fine;
  for (ReadRow& row : rows) {
    if (row.status.ok()) fine.push_back(std::move(row.row));
  }
  const std::vector<Status> added = add(fine);
  bool all = true;
  size_t next = 0;
  for (ReadRow& row : rows) {
    if (row.status.ok()) {
      row.row = std::move(fine[next]);
      row.status = added[next++];
    }
    if (!row.status.ok()) row.row.added["error"] = row.status.message();
    all = all && row.status.ok();
  }
  return all;
}

std::string merged(Row row) {
  for (auto& [key, value] : row.added.items()) row.fields[key] = std::move(value);
  return dump_json(row.fields);
}

// The row as a line. Its source is taken over, unless a new field replaces one of it or its bytes could drive
// a terminal: then the row is written anew.
void append_line(std::string& lines, ReadRow row) {
  const auto replaced = [&](const auto& item) { return row.row.fields.contains(item.key()); };
  const auto added = row.row.added.items();
  if (row.source.empty() || drives_terminal(row.source) ||
      std::any_of(added.begin(), added.end(), replaced)) {
    lines += merged(std::move(row.row));
  } else if (row.row.added.empty()) {
    lines += row.source;
  } else {
    lines.append(row.source, 0, row.source.size() - 1);
    if (!row.row.fields.empty()) lines += ',';
    lines += std::string_view(dump_json(row.row.added)).substr(1);
  }
  lines += '\n';
}

Status write_one(const RowFiles& files, Row row, const AddFields& add, const std::stop_token& stop) {
  TRY(writer, RowWriter::open(files));
  const Status added = add(std::span(&row, 1)).front();
  if (stop.stop_requested()) return cancelled("stopped by a signal; no row is written");
  TRY_DO(added);
  TRY_DO(writer.write(merged(std::move(row)) + "\n"));
  return writer.flush();
}

// Whether every row was used.
Result<bool> copy_rows(JsonlReader& reader, RowWriter& writer, size_t batch, const AddFields& add,
                       const std::stop_token& stop) {
  bool all = true;
  int64_t written = 0;
  for (;;) {
    TRY(rows, read_batch(reader, batch));
    if (rows.empty()) return all;
    const bool fine = stop.stop_requested() || add_fields(rows, add);
    if (stop.stop_requested())
      return cancelled("stopped by a signal; " + std::to_string(written) + " rows are written");
    all = all && fine;
    std::string text;
    written += static_cast<int64_t>(rows.size());
    for (ReadRow& row : rows) append_line(text, std::move(row));
    TRY_DO(writer.write(text));
  }
}

// The same with the files; rows that were done before an error are written all the same.
Result<bool> copy_rows(const RowFiles& files, size_t batch, const AddFields& add,
                       const std::stop_token& stop) {
  TRY(reader, JsonlReader::open(files.input));
  TRY(writer, RowWriter::open(files));
  const Result<bool> all = copy_rows(reader, writer, batch, add, stop);
  const Status flushed = writer.flush();
  return all.ok() && !flushed.ok() ? Result<bool>(flushed) : all;
}

}  // namespace

void add_row_options(CLI::App& verb, RowFiles& files, CLI::Option* instead) {
  CLI::Option* input =
      verb.add_option("-i,--input", files.input, "JSONL file to read; - is stdin")->capture_default_str();
  if (instead != nullptr) input->excludes(instead);
  verb.add_option("--to", files.output, "file to write; - is stdout")->capture_default_str();
  verb.add_option("-o,--output", files.format, "output format; rows go out as JSONL")
      ->check(CLI::IsMember({"jsonl"}));
}

int for_each_batch(const RowFiles& files, size_t batch, const AddFields& add, std::stop_token stop) {
  const Result<bool> all = copy_rows(files, batch, add, stop);
  if (!all.ok()) return report(all.status());
  return *all ? 0 : 1;
}

int for_one_row(const RowFiles& files, Json fields, const AddFields& add, std::stop_token stop) {
  return report(write_one(files, {.fields = std::move(fields)}, add, stop));
}

int for_each_row(const RowFiles& files, const std::function<Status(Row& row)>& add, std::stop_token stop) {
  const AddFields one = [&](std::span<Row> rows) {
    std::vector<Status> out;
    for (Row& row : rows) out.push_back(add(row));
    return out;
  };
  return for_each_batch(files, 1, one, std::move(stop));
}

}  // namespace fulcrum::cli
