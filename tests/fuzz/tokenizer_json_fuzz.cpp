// A Hugging Face tokenizer folder: tokenizer.json, tokenizer_config.json, special_tokens_map.json,
// config.json.
#include <array>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  constexpr std::array<const char*, 4> kFiles = {"tokenizer.json", "tokenizer_config.json",
                                                 "special_tokens_map.json", "config.json"};
  const auto parts = split_parts(input, kFiles.size());
  const Scratch scratch;
  for (size_t i = 0; i < kFiles.size(); ++i) {
    if (!parts[i].empty()) scratch.put(kFiles[i], parts[i]);
  }
  const auto tokenizer = load_tokenizer(scratch.path());
  if (!good(tokenizer)) return;
  check_tokenizer(**tokenizer);
  const auto again = load_tokenizer(scratch.path());
  LAW(again.ok());
  LAW((*again)->content_hash() == (*tokenizer)->content_hash());
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
