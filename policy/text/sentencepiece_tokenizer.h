// SentencePiece models (BPE and unigram), encoded by the SentencePiece library, whose header stays in one
// .cpp. Called by load_tokenizer. The tokenizer is immutable and thread-safe.
#pragma once

#include <memory>
#include <string_view>

#include "policy/text/special_tokens.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {

// `model`: the bytes of a .model file. Tokens that the config adds after the model's own must be special
// ones.
Result<std::shared_ptr<const Tokenizer>> make_sentencepiece_tokenizer(std::string_view model,
                                                                      const TokenConfig& config,
                                                                      SourceFiles& sources);

}  // namespace fulcrum
