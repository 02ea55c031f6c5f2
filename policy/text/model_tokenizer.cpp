#include "policy/text/model_tokenizer.h"

#include "engine/core/text.h"

namespace fulcrum {

Result<std::shared_ptr<const Tokenizer>> load_tokenizer_of(const Model& model, const Path& path,
                                                           const TokenizerOptions& options) {
  const Path& from = path.empty() ? model.folder : path;
  TRY(tokenizer, load_tokenizer(from, options));
  bool fits = true;
  for (auto id = static_cast<TokenId>(model.spec.vocab_size); fits && id < tokenizer->vocab_size(); ++id)
    fits = tokenizer->is_special(id);
  // Vocabularies are padded to round sizes, never to twice their own.
  if (fits && model.spec.vocab_size <= 2 * static_cast<int64_t>(tokenizer->vocab_size())) return tokenizer;
  return invalid_argument(
      "tokenizer " + in_quotes(from.string()) + " has " + std::to_string(tokenizer->vocab_size()) +
      " tokens, the model " + (fits ? "" : "only ") + std::to_string(model.spec.vocab_size) +
      ": they do not belong together; name the tokenizer that the model was trained with");
}

}  // namespace fulcrum
