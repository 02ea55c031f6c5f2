// The head of a GGUF file, and the vocabulary in it.
#include "policy/text/vocabulary_readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const std::string file(input);  // of its own, so that a read past the end is seen
  const auto metadata = read_gguf_metadata(std::as_bytes(std::span(file.data(), file.size())));
  if (!good(metadata)) return;
  LAW(metadata->version == 2 || metadata->version == 3);
  LAW(metadata->bytes <= file.size());
  // The head alone is enough.
  const auto head = read_gguf_metadata(std::as_bytes(std::span(file.data(), metadata->bytes)));
  LAW(head.ok());
  LAW(head->bytes == metadata->bytes && head->values.size() == metadata->values.size());
  check_spec(read_gguf_vocabulary(*metadata, std::nullopt));
  check_spec(read_gguf_vocabulary(*metadata, Splitter::kGpt2));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
