// Tables for people, JSON for programs, from the same rows. Cells are made printable here, so untrusted text
// may be put in as it is.
#pragma once

#include <string>
#include <vector>

#include "engine/core/json.h"

namespace fulcrum::cli {

struct Table {
  std::vector<std::string> columns;
  std::vector<Json> rows;  // objects; missing members are blank cells
  size_t longest = 120;    // characters of a cell; a longer one is cut, not in JSON
};

// "table": aligned columns, numbers to the right; "json": one array; "jsonl": one object a line.
std::string render(const Table& table, const std::string& format);

}  // namespace fulcrum::cli
