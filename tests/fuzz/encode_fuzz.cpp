// Any text through tokenizers that know every byte: what is decoded is what was encoded.
#include <array>

#include "engine/core/text.h"
#include "policy/text/unicode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

constexpr std::array kSplitters = {Splitter::kGpt2,      Splitter::kCl100k,       Splitter::kQwen2,
                                   Splitter::kDigitRuns, Splitter::kSingleDigits, Splitter::kBeforeSpaceMark};

void check_round_trip(const Tokenizer& tokenizer, std::string_view text, std::string_view expected) {
  const auto ids = tokenizer.encode(text, false);
  LAW(ids.ok());
  LAW(tokenizer.decode(*ids) == expected);
  check_streaming(tokenizer, *ids);
}

void check(std::string_view text) {
  static const auto byte_level = [] {
    std::array<std::shared_ptr<const Tokenizer>, kSplitters.size()> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = byte_level_tokenizer(kSplitters[i]);
    return all;
  }();
  static const auto fallback = byte_fallback_tokenizer();

  for (size_t i = 0; i < kSplitters.size(); ++i) {
    std::vector<std::string_view> words;
    split_words(kSplitters[i], text, words);
    std::string joined;
    for (const std::string_view word : words) {
      LAW(!word.empty());
      joined += word;
    }
    LAW(joined == text);
    check_round_trip(*byte_level[i], text, kSplitters[i] == Splitter::kQwen2 ? normalize_nfc(text) : text);
  }
  LAW(normalize_nfc(normalize_nfc(text)) == normalize_nfc(text));
  LAW(is_valid_utf8(normalize_nfc(text)) == is_valid_utf8(text));
  if (is_valid_utf8(text)) {
    check_round_trip(*fallback, text, text);
  } else {
    LAW(!good(fallback->encode(text, false)));
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
