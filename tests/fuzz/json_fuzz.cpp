// JSON: what is read and written again is the same document, in both kinds of object, and the quick reader of
// rows says what the full parser says.
#include "engine/core/json.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

int depth_of(const Json& value) {
  int deepest = 0;
  if (value.is_structured()) {
    for (const Json& inner : value) deepest = std::max(deepest, depth_of(inner));
  }
  return deepest + (value.is_structured() ? 1 : 0);
}

void check(std::string_view text) {
  const Result<Json> value = parse_json(text);
  const Result<SortedJson> sorted = parse_sorted_json(text);
  LAW(value.ok() == sorted.ok());
  const Result<Json> with_comments = parse_json(text, {.comments = true});
  const bool repeats = with_comments.status().message().find(" is there already") != std::string::npos;
  LAW(with_comments.ok() || !value.ok() || repeats);
  if (!good(value)) return;
  LAW(repeats || *with_comments == *value);
  LAW(depth_of(*value) <= kMaxJsonDepth);

  const std::string written = dump_json(*value);
  LAW(dump_json(Json::parse(text)) == written);
  LAW(written.find('\n') == std::string::npos);
  const Result<Json> again = parse_json(written);
  LAW(again.ok());
  LAW(*again == *value);
  LAW(dump_json(*again) == written);
  LAW(dump_json(*parse_json(dump_json(*value, 2))) == written);
  LAW(SortedJson::parse(written) == *sorted);

  for (const char* key : {"a", "step", ""}) {
    (void)good(get_string(*value, key));
    (void)good(get_int(*value, key));
    (void)good(get_double(*value, key));
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
