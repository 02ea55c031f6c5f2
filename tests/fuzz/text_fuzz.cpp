// What is done to foreign text before it reaches a terminal or a log line.
#include <algorithm>
#include <array>

#include "engine/core/text.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

// The ranges of Unicode's controls and of its property Bidi_Control, written down once more, as UTF-8.
bool may_drive_a_terminal(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
  }
  for (int c1 = 0x80; c1 <= 0x9F; ++c1) {
    if (text.find("\xC2" + std::string(1, static_cast<char>(c1))) != std::string_view::npos) return true;
  }
  constexpr std::array<std::string_view, 12> kBidi = {"\u061C", "\u200E", "\u200F", "\u202A",
                                                      "\u202B", "\u202C", "\u202D", "\u202E",
                                                      "\u2066", "\u2067", "\u2068", "\u2069"};
  for (const std::string_view mark : kBidi) {
    if (text.find(mark) != std::string_view::npos) return true;
  }
  return false;
}

void check(std::string_view text) {
  constexpr size_t kLimit = 64, kLongestEscape = 8;
  const std::string shown = printable(text, kLimit);
  LAW(is_valid_utf8(shown));
  LAW(!may_drive_a_terminal(shown));
  LAW(shown.size() <= kLimit + kLongestEscape + 3);
  LAW(printable(printable(text, 1 << 20), 1 << 20) == printable(text, 1 << 20));
  LAW(in_quotes(text, kLimit) == "'" + shown + "'");

  const std::string valid = to_valid_utf8(text);
  LAW(is_valid_utf8(valid));
  LAW((valid == text) == is_valid_utf8(text));
  LAW(to_valid_utf8(valid) == valid);

  for (const char separator : {'\n', ','}) {
    LAW(join(split(text, separator), std::string_view(&separator, 1)) == text);
  }
  LAW(trim(trim(text)) == trim(text));
  const std::vector<std::string> names = {"learning_rate", "beta", "num_generations"};
  const std::string near = nearest_name(text, names);
  LAW(near.empty() || std::find(names.begin(), names.end(), near) != names.end());
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
