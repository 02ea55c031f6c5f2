#include "engine/core/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <numeric>

namespace fulcrum {
namespace {

struct Decoded {
  char32_t point = 0;
  size_t length = 0;  // 0: malformed
};

// One UTF-8 sequence by the table of well-formed byte ranges (Unicode, table 3-7).
Decoded decode_utf8(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  auto continuation = [&](size_t i, unsigned lo = 0x80, unsigned hi = 0xBF) {
    return i < s.size() && byte(i) >= lo && byte(i) <= hi;
  };
  const unsigned b = byte(0);
  if (b < 0x80) return {b, 1};
  if (b >= 0xC2 && b <= 0xDF && continuation(1)) return {(b & 0x1Fu) << 6 | (byte(1) & 0x3Fu), 2};
  if (b >= 0xE0 && b <= 0xEF) {
    const unsigned lo = b == 0xE0 ? 0xA0 : 0x80, hi = b == 0xED ? 0x9F : 0xBF;
    if (continuation(1, lo, hi) && continuation(2)) {
      return {(b & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
    }
  }
  if (b >= 0xF0 && b <= 0xF4) {
    const unsigned lo = b == 0xF0 ? 0x90 : 0x80, hi = b == 0xF4 ? 0x8F : 0xBF;
    if (continuation(1, lo, hi) && continuation(2) && continuation(3)) {
      return {(b & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu), 4};
    }
  }
  return {};
}

// Where the ASCII that begins at `from` ends. Eight bytes at a time: most texts are nothing else.
size_t ascii_end(std::string_view s, size_t from) {
  uint64_t eight = 0;
  for (; from + sizeof eight <= s.size(); from += sizeof eight) {
    std::memcpy(&eight, s.data() + from, sizeof eight);
    if ((eight & 0x8080808080808080u) != 0) break;
  }
  while (from < s.size() && static_cast<unsigned char>(s[from]) < 0x80) ++from;
  return from;
}

bool is_unsafe(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0x061C || c == 0x200E || c == 0x200F ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

}  // namespace

std::string printable(std::string_view untrusted, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < untrusted.size();) {
    if (out.size() >= max_bytes) return out + "...";
    const Decoded d = decode_utf8(untrusted.substr(i));
    std::array<char, 16> escape{};
    if (d.length == 0) {
      std::snprintf(escape.data(), escape.size(), "\\x%02X", static_cast<unsigned char>(untrusted[i]));
      out += escape.data();
      ++i;
      continue;
    }
    if (d.point == '\n') {
      out += "\\n";
    } else if (d.point == '\t') {
      out += "\\t";
    } else if (d.point == '\r') {
      out += "\\r";
    } else if (is_unsafe(d.point)) {
      std::snprintf(escape.data(), escape.size(), d.point < 0x80 ? "\\x%02X" : "\\u{%X}",
                    static_cast<unsigned>(d.point));
      out += escape.data();
    } else {
      out += untrusted.substr(i, d.length);
    }
    i += d.length;
  }
  return out;
}

std::string in_quotes(std::string_view untrusted, size_t max_bytes) {
  return "'" + printable(untrusted, max_bytes) + "'";
}

bool is_valid_utf8(std::string_view bytes) {
  for (size_t i = ascii_end(bytes, 0); i < bytes.size(); i = ascii_end(bytes, i)) {
    const size_t n = decode_utf8(bytes.substr(i)).length;
    if (n == 0) return false;
    i += n;
  }
  return true;
}

bool drives_terminal(std::string_view json) {
  if (json.find('\x7F') != std::string_view::npos) return true;
  for (size_t i = ascii_end(json, 0); i < json.size(); i = ascii_end(json, i)) {
    const Decoded d = decode_utf8(json.substr(i));
    if (d.length == 0 || is_unsafe(d.point)) return true;
    i += d.length;
  }
  return false;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const size_t n = decode_utf8(bytes.substr(i)).length;
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
    } else {
      out += bytes.substr(i, n);
      i += n;
    }
  }
  return out;
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  constexpr size_t kLongestName = 100;  // what is longer is no typo, and the table below grows with it
  if (name.size() > kLongestName) return {};
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < name.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i + 1;
      for (size_t j = 0; j < candidate.size(); ++j) {
        const size_t substitute = diagonal + (name[i] == candidate[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({row[j + 1] + 1, row[j] + 1, substitute});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

bool contains(std::span<const std::string> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool starts_with_icase(std::string_view text, std::string_view prefix) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(),
                                                    [&](char a, char b) { return lower(a) == lower(b); });
}

}  // namespace fulcrum
