// JSONL in, JSONL out: how tokenize, generate, logps and score treat files. Rows keep their order, and their
// fields are written as they came; a row that cannot be used gains `error`, and makes the exit code 1 at the
// end. One thread.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/cli/verb.h"
#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum::cli {

struct RowFiles {
  std::string input = "-";   // "-": stdin
  std::string output = "-";  // "-": stdout
  std::string format;        // "" or "jsonl"

  // Whether someone asked for a row although what they gave is on the command line.
  bool wants_row() const { return output != "-" || !format.empty(); }
};

// `instead`: the argument on the command line that takes the place of --input.
void add_row_options(CLI::App& verb, RowFiles& files, CLI::Option* instead = nullptr);

// A row on its way through a tool.
struct Row {
  Json fields = Json::object();  // as they came; only read
  Json added = Json::object();   // written behind them, or in the place of one of the same name
};

// Adds fields to a batch of rows: one status a row, in order.
using AddFields = std::function<std::vector<Status>(std::span<Row> rows)>;

// Feeds the rows in batches of at most `batch`; a line that is no row goes out as {"line": its number,
// "error": what}. Returns the exit code: 0, 1 when some rows failed, that of a file or pipe that broke, or
// 130 after a stop request: rows that were written stay, those of the batch it cut are not written.
int for_each_batch(const RowFiles& files, size_t batch, const AddFields& add, std::stop_token stop = {});

// One row that does not come from a file; its failure is the program's, and no row is written then.
int for_one_row(const RowFiles& files, Json fields, const AddFields& add, std::stop_token stop = {});

// As for_each_batch(), row by row.
int for_each_row(const RowFiles& files, const std::function<Status(Row& row)>& add,
                 std::stop_token stop = {});

}  // namespace fulcrum::cli
