#include "engine/data/jsonl.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {

namespace {

Status too_long() {
  return invalid_argument("the line is longer than " + std::to_string(kMaxJsonlLine >> 20) + " MiB");
}

}  // namespace

Result<Json> parse_row(std::string_view line) {
  if (line.size() > kMaxJsonlLine) return too_long();
  if (!is_valid_utf8(line)) return invalid_argument("the line is not UTF-8; convert the file");
  Result<Json> row = parse_json(line);
  if (!row.ok()) {
    // The parser counts lines too; its "line 1" would contradict the line of the file.
    std::string what = row.status().message();
    if (constexpr std::string_view kFirst = "line 1, "; what.starts_with(kFirst))
      what.erase(0, kFirst.size());
    return invalid_argument(what);
  }
  if (!row->is_object())
    return invalid_argument(std::string("a row must be a JSON object, not ") + row->type_name());
  return row;
}

void JsonlReader::Close::operator()(std::FILE* file) const {
  if (file != stdin) std::fclose(file);
}

Result<JsonlReader> JsonlReader::open(const Path& path) {
  if (path == "-") return JsonlReader("standard input", stdin);
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return invalid_argument(in_quotes(path.string()) + " is a folder, not a JSONL file");
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return from_errno(errno, "cannot open", path);
  return JsonlReader(printable(path.string()), file);
}

bool JsonlReader::refill() {
  begin_ = 0;
  end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_.get());
  return end_ > 0;
}

// Reads up to the next newline, which is not kept; of a line that is too long nothing is kept.
JsonlReader::Read JsonlReader::read_line() {
  line_.clear();
  bool any = false, too_long = false;
  for (;;) {
    if (begin_ == end_ && !refill()) {
      if (std::ferror(file_.get()) != 0) return Read::kFailed;
      if (!any) return Read::kEnd;
      break;
    }
    any = true;
    const char* from = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const size_t n = newline == nullptr ? end_ - begin_ : static_cast<size_t>(newline - from);
    too_long = too_long || line_.size() + n > kMaxJsonlLine;
    if (too_long) {
      line_.clear();
    } else {
      line_.append(from, n);
    }
    begin_ += n + (newline == nullptr ? 0 : 1);
    if (newline != nullptr) break;
  }
  ++line_number_;
  return too_long ? Read::kTooLong : Read::kLine;
}

std::optional<Result<Json>> JsonlReader::next() {
  while (!done_) {
    switch (read_line()) {
      case Read::kLine: {
        if (trim(line_).empty()) break;
        Result<Json> row = parse_row(line_);
        if (!row.ok()) return Result<Json>(row.status().with_context(where()));
        return row;
      }
      case Read::kTooLong:
        return Result<Json>(too_long().with_context(where()));
      case Read::kEnd:
        done_ = true;
        break;
      case Read::kFailed:
        done_ = true;
        return Result<Json>(from_errno(errno, "cannot read", name_));
    }
  }
  return std::nullopt;
}

std::string_view JsonlReader::text() const { return trim(line_); }

std::string JsonlReader::where() const { return name_ + ":" + std::to_string(line_number_); }

Result<std::vector<JsonlRow>> read_jsonl(const Path& path) {
  TRY(reader, JsonlReader::open(path));
  std::vector<JsonlRow> rows;
  while (auto row = reader.next()) {
    TRY_DO(*row);
    rows.push_back({reader.line(), std::move(*row).value()});
  }
  return rows;
}

}  // namespace fulcrum
