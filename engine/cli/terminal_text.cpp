#include "engine/cli/terminal_text.h"

#include <algorithm>

#include "engine/core/text.h"

namespace fulcrum::cli {

std::string terminal_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t line = std::min(text.find_first_of("\n\t"), text.size());
    out += printable(text.substr(0, line), line * 8);
    if (line == text.size()) break;
    out += text[line];
    text.remove_prefix(line + 1);
  }
  return out;
}

}  // namespace fulcrum::cli
