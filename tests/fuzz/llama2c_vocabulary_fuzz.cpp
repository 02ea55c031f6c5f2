// The tokenizer file of llama2.c.
#include "policy/text/vocabulary_readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view bytes) { check_spec(read_llama2c_vocabulary(std::string(bytes))); }

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
