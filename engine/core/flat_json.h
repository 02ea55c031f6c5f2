// A quick reader of the JSON that most rows are: one object whose values are texts, whole numbers, true,
// false or null. Called by parse_json() only, which leaves everything else, and whatever is broken, to the
// full parser. Pure, thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "engine/core/json.h"

namespace fulcrum {

// What the full parser would give; no value: it has to say itself.
std::optional<Json> parse_flat_object(std::string_view text);

}  // namespace fulcrum
