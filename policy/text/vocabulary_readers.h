// The readers of every vocabulary format: bytes of a file in, a BpeSpec out. Called by load_tokenizer, which
// finds the files and adds what tokenizer_config.json says. All input may be hostile: errors are one line,
// kInvalidArgument. Pure functions, thread-safe.
#pragma once

#include <string_view>

#include "policy/text/bpe_tokenizer.h"
#include "policy/text/gguf_metadata.h"

namespace fulcrum {

// A Hugging Face tokenizer.json with a BPE model: byte-level, or SentencePiece-like (Prepend, Replace,
// ByteFallback). `splitter`: replaces the pre-tokenisation of a byte-level file; needed where its pattern is
// not a known one. `has_template`: whether the file itself says what stands around a text.
struct TokenizerJson {
  BpeSpec spec;
  bool has_template = false;
};
Result<TokenizerJson> read_tokenizer_json(std::string_view text, std::optional<Splitter> splitter);

// vocab.json or encoder.json (spelled piece -> id) with merges.txt or vocab.bpe (a pair a line, best first).
Result<BpeSpec> read_merges_files(std::string_view vocab_json, std::string_view merges, Splitter splitter);

// .tiktoken: base64 of the bytes, a space, the rank. `name` (of the encoding, as "cl100k_base") adds the
// special tokens that its authors keep in code; "llama3" those of Llama-3.
Result<BpeSpec> read_tiktoken(std::string_view text, std::string_view name, Splitter splitter);
// The splitter that a published file's name implies ("cl100k_base", ...).
std::optional<Splitter> splitter_of_encoding(std::string_view name);

// tokenizer.ggml.*: models "llama" (scores) and "gpt2" (merges).
Result<BpeSpec> read_gguf_vocabulary(const GgufMetadata& metadata, std::optional<Splitter> splitter);

// llama2.c's tokenizer.bin: pieces with scores; ids 0, 1, 2 are unknown, BOS, EOS and 3..258 the bytes.
Result<BpeSpec> read_llama2c_vocabulary(std::string_view bytes);

// A table of characters in tokenizer_config.json ("char_ords"): S separator 0, E end 1, P pad 2, U unknown 3,
// then the characters. Its chat template ends a prompt with the separator, and so does add_special.
Result<BpeSpec> read_character_table(const Json& config);

}  // namespace fulcrum
