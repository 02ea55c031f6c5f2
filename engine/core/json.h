// JSON in and out. Json keeps the order of members (rows and configs are printed back as they came);
// SortedJson is for maps with very many members, where Json's linear lookup would be quadratic.
// Parsing never recurses deeper than kMaxJsonDepth and errors name line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

using Json = nlohmann::ordered_json;
using SortedJson = nlohmann::json;

inline constexpr int kMaxJsonDepth = 64;

struct JsonOptions {
  bool comments = false;  // a config: people write // and /* */ there, and a key twice is their mistake
};

// Errors: kInvalidArgument with "line L, column C: what".
Result<Json> parse_json(std::string_view text, JsonOptions options = {});
Result<SortedJson> parse_sorted_json(std::string_view text, JsonOptions options = {});

// One line of UTF-8; malformed sequences in strings become U+FFFD, so writing never fails.
std::string dump_json(const Json& value, int indent = -1);

// Typed reads with an error that names the key: kNotFound if absent, kInvalidArgument if of another type.
Result<std::string> get_string(const Json& object, std::string_view key);
Result<std::string_view> get_text(const Json& object, std::string_view key);  // of the object, no copy
Result<int64_t> get_int(const Json& object, std::string_view key);
Result<double> get_double(const Json& object, std::string_view key);

}  // namespace fulcrum
