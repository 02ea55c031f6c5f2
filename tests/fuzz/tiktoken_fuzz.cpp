// tiktoken's ranks.
#include "policy/text/vocabulary_readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view text) {
  check_spec(read_tiktoken(text, "", Splitter::kCl100k));
  check_spec(read_tiktoken(text, "llama3", Splitter::kCl100k));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
