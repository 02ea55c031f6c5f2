#include "engine/cli/rows.h"

#include <fstream>
#include <iostream>

#include "engine/core/text.h"
#include "engine/data/jsonl.h"

namespace fulcrum::cli {
namespace {

// A row as it goes out: parsed or, if that failed, the error in its place.
struct Row {
  Json json;
  Status status;
};

Row as_row(const std::string& line, int64_t number) {
  Result<Json> json = fulcrum::parse_row(line);
  if (!json.ok()) return {{{"line", printable(line)}}, json.status().with_context("line " + std::to_string(number))};
  return {std::move(json).value(), ok_status()};
}

// Runs `add` over the rows that could be parsed; false if any row of the batch failed.
bool add_fields(std::vector<Row>& rows, const AddFields& add) {
  std::vector<Json> fine;
  for (Row& row : rows) {
    if (row.status.ok()) fine.push_back(std::move(row.json));
  }
  const std::vector<Status> added = add(fine);
  bool all = true;
  size_t next = 0;
  for (Row& row : rows) {
    if (row.status.ok()) {
      row.json = std::move(fine[next]);
      row.status = added[next++];
    }
    if (!row.status.ok()) row.json["error"] = row.status.message();
    all = all && row.status.ok();
  }
  return all;
}

}  // namespace

void add_row_options(CLI::App& verb, RowFiles& files) {
  verb.add_option("-i,--input", files.input, "JSONL file to read; - is stdin")->capture_default_str();
  verb.add_option("--to", files.output, "file to write; - is stdout")->capture_default_str();
  verb.add_option("-o,--output", files.format, "output format; rows go out as JSONL")->check(CLI::IsMember({"jsonl"}));
}

int for_each_batch(const RowFiles& files, size_t batch, const AddFields& add) {
  std::ifstream in_file;
  std::ofstream out_file;
  if (files.input != "-") {
    in_file.open(files.input);
    if (!in_file) return report(not_found("cannot read " + in_quotes(files.input)));
  }
  if (files.output != "-") {
    out_file.open(files.output, std::ios::trunc);
    if (!out_file) return report(unavailable("cannot write " + in_quotes(files.output)));
  }
  std::istream& in = files.input == "-" ? std::cin : in_file;
  std::ostream& out = files.output == "-" ? std::cout : out_file;

  bool all = true;
  std::vector<Row> rows;
  auto flush = [&] {
    all = add_fields(rows, add) && all;
    for (const Row& row : rows) out << dump_json(row.json) << '\n';
    out.flush();
    rows.clear();
    return static_cast<bool>(out);
  };
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (trim(line).empty()) continue;
    rows.push_back(as_row(line, number));
    if (rows.size() == batch && !flush()) break;
  }
  if (!flush()) return report(unavailable("cannot write " + in_quotes(files.output) + ": disk full or pipe closed"));
  if (in.bad()) return report(unavailable("cannot read " + in_quotes(files.input)));
  return all ? 0 : 1;
}

int for_each_row(const RowFiles& files, const std::function<Status(Json& row)>& add) {
  return for_each_batch(files, 1, [&](std::span<Json> rows) {
    std::vector<Status> out;
    for (Json& row : rows) out.push_back(add(row));
    return out;
  });
}

}  // namespace fulcrum::cli
