// GPT-2's two files: encoder.json and vocab.bpe.
#include "policy/text/vocabulary_readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const auto parts = split_parts(input, 2);
  check_spec(read_merges_files(parts[0], parts[1], Splitter::kGpt2));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
