// Text to token ids and back. One interface over SentencePiece, BPE in its several file formats, and
// character tables. Called by the data reader, the rollouts and the `tokenize` verb. Implementations are
// immutable and thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/status.h"
#include "engine/types/rollout.h"

namespace fulcrum {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of a text. `add_special`: put BOS (or whatever the files' template says) around it, as the model
  // was trained; off: the bare text. Special-token spellings inside the text are plain text. Malformed UTF-8
  // is kInvalidArgument unless the tokenizer is byte-level.
  virtual Result<std::vector<TokenId>> encode(std::string_view text, bool add_special) const = 0;

  // The bytes of ids; special tokens and ids outside the vocabulary give nothing; the unknown token is not
  // special: it shows as the files spell it. May end in the middle of a UTF-8 sequence when the ids do
  // (IncrementalDecoder holds such ends back). Left to right: what an id adds depends on those before it only
  // by whether they gave any text.
  virtual std::string decode(std::span<const TokenId> ids) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;  // what ends a completion
  virtual std::optional<TokenId> pad() const = 0;
  virtual bool is_special(TokenId id) const = 0;

  // SHA-256 over the files that define it: same hash, same ids.
  const std::string& content_hash() const { return content_hash_; }
  // The files to copy beside exported weights, so that `transformers` finds the tokenizer.
  const std::vector<Path>& files() const { return files_; }

 protected:
  std::string content_hash_;
  std::vector<Path> files_;
};

struct TokenizerOptions {
  std::string splitter;  // "gpt2", "cl100k", "llama3", "qwen2", or "": what the files say
};

// From a model folder, or from one file: SentencePiece .model; tokenizer.json; encoder.json or vocab.json
// (its merges beside it); .tiktoken; .gguf; llama2.c's .bin; tokenizer_config.json of a character table. A
// folder with several is read in this order: tokenizer.json; tokenizer.model, or its only *.model;
// vocab.json; encoder.json; its only
// *.tiktoken; its only *.gguf; tokenizer_config.json. The small files beside it (tokenizer_config.json, then
// special_tokens_map.json, then config.json) name BOS, EOS and padding. kNotFound, kInvalidArgument.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const Path& path,
                                                        const TokenizerOptions& options = {});

// Turns a growing list of ids into text pieces that end on character boundaries, for streaming and stop
// strings.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // The text that `id` makes certain (may be empty). All pieces joined with finish() equal decode(all ids).
  std::string push(TokenId id);
  // What was held back.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> context_;  // the last id with text, or all so far if none had any
  std::string held_;              // the beginning of a UTF-8 sequence
};

}  // namespace fulcrum
