// Byte-pair encoding in all its file formats: each reader (tokenizer.json, merges files, ranks, GGUF,
// llama2.c, character table) fills a BpeSpec, and one tokenizer runs it. A character table is BPE without
// merges. The tokenizer is immutable and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "policy/text/added_tokens.h"
#include "policy/text/special_tokens.h"
#include "policy/text/splitters.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {

inline constexpr int64_t kMaxVocabulary = int64_t{1}
                                          << 20;  // ids above are taken for damage, not for a vocabulary

enum class PieceKind : uint8_t {
  kHole,     // an id that nothing spells
  kNormal,   // found in text, joined by merges
  kByte,     // one byte, for characters that the vocabulary lacks
  kUnknown,  // stands for what cannot be spelled
  kSpecial,  // never read from text, never shown
  kAdded     // found in text by AddedTokenMatcher only
};

struct BpePiece {
  std::string text;  // as it stands in normalised text (byte-level: the bytes); of kByte the one byte
  PieceKind kind = PieceKind::kHole;
  float score = 0;  // MergeOrder::kScore: higher joins first
};

// One step of what happens to a stretch of text before it is cut into words.
struct TextStep {
  enum Kind { kNfc, kPrepend, kPrependUnlessThere, kPrependUnlessThereFirst, kReplace };
  Kind kind = kNfc;
  std::string a;  // what is put in front (never before nothing), or what is replaced
  std::string b;  // by what
};

enum class MergeOrder {
  kPairs,  // a listed pair joins, lowest rank first
  kScore   // a pair joins if the two together are a piece, highest score first (SentencePiece, tiktoken)
};

struct PairHash {
  size_t operator()(uint64_t pair) const { return (pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15ull >> 7; }
};

struct BpeSpec {
  std::vector<BpePiece> pieces;  // by id
  bool byte_level = false;       // pieces are bytes; else characters
  std::vector<TextStep> normalizer;
  std::vector<TextStep> before_split;  // after added tokens of normalised text were found
  std::vector<Splitter> splitters;     // one after the other
  MergeOrder order = MergeOrder::kPairs;
  std::unordered_map<uint64_t, std::pair<int32_t, TokenId>, PairHash> merges;  // pair_key -> rank, joined id
  bool whole_word_first = false;  // a word that is a piece is not merged up
  bool byte_fallback = false;     // characters that no piece spells become kByte pieces
  std::optional<TokenId> unknown;
  bool fuse_unknown = false;      // a run of them is one id
  std::vector<AddedToken> added;  // special ones too
  std::vector<std::pair<std::string, std::string>> decode_replace;
  bool strip_leading_space = false;     // decode drops the space that encode puts in front
  std::vector<TokenId> prefix, suffix;  // what add_special puts around
  SpecialTokens special;
};

inline uint64_t pair_key(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Makes room for `id` and sets it. kInvalidArgument if the id is out of bounds or taken by another text.
Status set_piece(BpeSpec& spec, int64_t id, BpePiece piece);

// Adds a token to the list and the table of pieces. kInvalidArgument as above.
Status add_token(BpeSpec& spec, AddedToken token);

// The id of a token by its text.
std::optional<TokenId> find_token(const BpeSpec& spec, std::string_view content);

// Adds a splitter and the normalisation that its vocabularies were trained with (Qwen2: NFC), for files that
// do not say it.
void use_splitter(BpeSpec& spec, Splitter splitter);

// Puts BOS and EOS around as `special` says, for files without a template of their own.
void use_flags_as_template(BpeSpec& spec);

// Checks and seals. kInvalidArgument.
Result<std::shared_ptr<const Tokenizer>> make_bpe_tokenizer(BpeSpec spec, TokenizerSource source);

}  // namespace fulcrum
