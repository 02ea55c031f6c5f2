// A table of characters in tokenizer_config.json.
#include "policy/text/vocabulary_readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view text) {
  const Result<Json> config = parse_json(text);
  if (good(config)) check_spec(read_character_table(*config));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
