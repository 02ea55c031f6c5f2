// A SentencePiece model: our check, then the library.
#include "policy/text/sentencepiece_check.h"
#include "policy/text/sentencepiece_tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer_laws.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const std::string model(input);
  const Status checked = check_sentencepiece_model(model);
  if (!checked.ok()) check_error(checked);
  SourceFiles sources;
  const auto tokenizer = make_sentencepiece_tokenizer(model, {}, sources);
  LAW(checked.ok() || !tokenizer.ok());
  if (good(tokenizer)) check_tokenizer(**tokenizer);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
