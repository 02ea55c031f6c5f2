// Laws of every tokenizer, whatever file it came from, and two that are made here and know every byte. Called
// by the targets of policy/text.
#pragma once

#include <memory>
#include <span>

#include "policy/text/bpe_tokenizer.h"
#include "policy/text/source_files.h"
#include "policy/text/tokenizer.h"

namespace fulcrum::fuzz {

// Ids lie inside the vocabulary, encoding is a function, streaming gives what decoding gives.
void check_tokenizer(const Tokenizer& tokenizer);
// The pieces of a stream are the text, come in time, and end between characters where the text has whole
// ones.
void check_streaming(const Tokenizer& tokenizer, std::span<const TokenId> ids);
// The same for what a reader made: either an error of one line, or a tokenizer that keeps the laws.
void check_spec(const Result<BpeSpec>& spec);

// 256 bytes and merges of a few words.
std::shared_ptr<const Tokenizer> byte_level_tokenizer(Splitter splitter);
// Characters joined by score, bytes for the others, a space in front: as llama2.c and SentencePiece do.
std::shared_ptr<const Tokenizer> byte_fallback_tokenizer();

}  // namespace fulcrum::fuzz
