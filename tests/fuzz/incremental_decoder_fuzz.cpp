// Any ids through the streaming decoder, two bytes an id: also ids that no vocabulary has.
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  static const auto byte_level = byte_level_tokenizer(Splitter::kGpt2);
  static const auto fallback = byte_fallback_tokenizer();
  std::vector<TokenId> ids;
  for (; input.size() >= sizeof(int16_t); input.remove_prefix(sizeof(int16_t))) {
    int16_t id = 0;
    std::memcpy(&id, input.data(), sizeof(id));
    ids.push_back(id);
  }
  check_streaming(*byte_level, ids);
  check_streaming(*fallback, ids);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
