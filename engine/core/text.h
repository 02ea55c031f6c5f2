// Small text helpers that every layer needs. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fulcrum {

// Untrusted bytes made safe for a terminal or a log line: control characters, DEL, invalid UTF-8, C1 controls
// and bidirectional overrides become \n, \t, \xNN or \u{...}; longer than `max_bytes` is cut with "...".
std::string printable(std::string_view untrusted, size_t max_bytes = 200);

// printable() in single quotes: how names and paths appear in error messages.
std::string in_quotes(std::string_view untrusted, size_t max_bytes = 200);

// Whether the bytes are well-formed UTF-8 (no overlong forms, no surrogates).
bool is_valid_utf8(std::string_view bytes);

// Whether DEL, C1 controls, bidirectional overrides or malformed sequences stand in it, which JSON lets
// through. (The other control characters are escaped there.)
bool drives_terminal(std::string_view json);

// Replaces every malformed sequence by U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

// The candidate with the smallest edit distance to `name`, if it is close enough to be a likely typo, else
// "".
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

bool contains(std::span<const std::string> names, std::string_view name);

std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string_view trim(std::string_view text);
bool starts_with_icase(std::string_view text, std::string_view prefix);

}  // namespace fulcrum
