#include "engine/cli/table.h"

#include <algorithm>

#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

std::string cell_text(const Json& row, const std::string& column, size_t longest) {
  const auto it = row.find(column);
  if (it == row.end() || it->is_null()) return "";
  if (it->is_string()) return printable(it->get<std::string>(), longest);
  if (it->is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", it->get<double>());
    return text;
  }
  return printable(dump_json(*it), longest);
}

// Columns a terminal shows: continuation bytes of UTF-8 take no room.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool is_number(const Json& row, const std::string& column) {
  const auto it = row.find(column);
  return it != row.end() && it->is_number();
}

std::string as_columns(const Table& table) {
  std::vector<std::vector<std::string>> cells(table.rows.size());
  std::vector<size_t> widths;
  for (const std::string& column : table.columns) {
    size_t widest = width(column);
    for (size_t r = 0; r < table.rows.size(); ++r) {
      cells[r].push_back(cell_text(table.rows[r], column, table.longest));
      widest = std::max(widest, width(cells[r].back()));
    }
    widths.push_back(widest);
  }
  std::string out;
  auto line = [&](auto text_of, auto right) {
    std::string text;
    for (size_t c = 0; c < table.columns.size(); ++c) {
      const std::string cell = text_of(c);
      const std::string gap(widths[c] - width(cell), ' ');
      text += right(c) ? gap + cell : cell + gap;
      text += "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  const auto numeric = [&](size_t c) {
    return std::any_of(table.rows.begin(), table.rows.end(),
                       [&](const Json& r) { return is_number(r, table.columns[c]); });
  };
  line([&](size_t c) { return table.columns[c]; }, numeric);
  for (const auto& row : cells) line([&](size_t c) { return row[c]; }, numeric);
  return out;
}

}  // namespace

std::string render(const Table& table, const std::string& format) {
  if (format == "table") return as_columns(table);
  if (format == "json") return dump_json(Json(table.rows), 2) + "\n";
  std::string out;
  for (const Json& row : table.rows) out += dump_json(row) + "\n";
  return out;
}

}  // namespace fulcrum::cli
