// JSON Lines: the reader of files and the reader of one line say the same of every line.
#include "engine/core/text.h"
#include "engine/data/jsonl.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view text) {
  const Scratch scratch;
  scratch.put("rows.jsonl", text);
  Result<JsonlReader> reader = JsonlReader::open(scratch.path("rows.jsonl"));
  LAW(reader.ok());
  bool any_broken = false;
  size_t rows = 0;
  int64_t line_number = 0;
  for (const std::string& line : split(text, '\n')) {
    ++line_number;
    if (trim(line).empty()) continue;
    const std::optional<Result<Json>> row = reader->next();
    const Result<Json> alone = parse_row(line);
    LAW(row.has_value());
    LAW(row->ok() == alone.ok());
    LAW(reader->line() == line_number);
    if (good(*row)) {
      LAW(**row == *alone);
      LAW((*row)->is_object());
      ++rows;
    } else {
      any_broken = true;
      LAW(row->status().message().starts_with(reader->where() + ": "));
    }
  }
  LAW(!reader->next().has_value());
  LAW(!reader->next().has_value());
  const auto all = read_jsonl(scratch.path("rows.jsonl"));
  LAW(all.ok() == !any_broken);
  if (good(all)) LAW(all->size() == rows);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
