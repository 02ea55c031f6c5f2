#include "tests/fuzz/tokenizer_laws.h"

#include <array>

#include "engine/core/text.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

constexpr size_t kLongestCharacter = 4;

// Joins the left-most two pieces of `word` again and again, each as a merge and a piece of its own.
void add_merges(BpeSpec& spec, std::string_view word) {
  const auto id_of = [&](std::string_view text) -> TokenId {
    for (size_t i = 0; i < spec.pieces.size(); ++i) {
      if (spec.pieces[i].text == text) return static_cast<TokenId>(i);
    }
    const auto id = static_cast<TokenId>(spec.pieces.size());
    LAW(set_piece(spec, id, {std::string(text), PieceKind::kNormal, -static_cast<float>(id)}).ok());
    return id;
  };
  for (size_t length = 2; length <= word.size(); ++length) {
    const TokenId left = id_of(word.substr(0, length - 1)), right = id_of(word.substr(length - 1, 1));
    const auto rank = static_cast<int32_t>(spec.merges.size());
    spec.merges.try_emplace(pair_key(left, right), rank, id_of(word.substr(0, length)));
  }
}

std::shared_ptr<const Tokenizer> sealed(BpeSpec spec) {
  auto tokenizer = make_bpe_tokenizer(std::move(spec), {});
  LAW(tokenizer.ok());
  return *tokenizer;
}

}  // namespace

void check_streaming(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  const std::string whole = tokenizer.decode(ids);
  const bool whole_characters = is_valid_utf8(whole);
  IncrementalDecoder stream(tokenizer);
  std::string joined;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string piece = stream.push(ids[i]);
    joined += piece;
    if (whole_characters) LAW(is_valid_utf8(piece));
    LAW(joined.size() + kLongestCharacter > tokenizer.decode(ids.first(i + 1)).size());
  }
  LAW(joined + stream.finish() == whole);
}

void check_tokenizer(const Tokenizer& tokenizer) {
  LAW(tokenizer.vocab_size() > 0);
  for (const auto& id : {tokenizer.bos(), tokenizer.eos(), tokenizer.pad()}) {
    LAW(!id || (*id >= 0 && *id < tokenizer.vocab_size()));
  }
  constexpr std::array<std::string_view, 4> kTexts = {"", "ab a \u00E9 <s> 12\n", "  a\u2581b<|end|>cc",
                                                      "a\xFF\xE2\x96z"};
  for (const std::string_view text : kTexts) {
    for (const bool add_special : {false, true}) {
      const auto ids = tokenizer.encode(text, add_special);
      if (!good(ids)) continue;
      for (const TokenId id : *ids) LAW(id >= 0 && id < tokenizer.vocab_size());
      LAW(*tokenizer.encode(text, add_special) == *ids);
      check_streaming(tokenizer, *ids);
    }
  }
}

void check_spec(const Result<BpeSpec>& spec) {
  if (!good(spec)) return;
  const auto tokenizer = make_bpe_tokenizer(*spec, {});
  if (good(tokenizer)) check_tokenizer(**tokenizer);
}

std::shared_ptr<const Tokenizer> byte_level_tokenizer(Splitter splitter) {
  BpeSpec spec;
  spec.byte_level = true;
  use_splitter(spec, splitter);
  for (int byte = 0; byte < 256; ++byte) {
    LAW(set_piece(spec, byte, {std::string(1, static_cast<char>(byte)), PieceKind::kNormal}).ok());
  }
  for (const char* word : {" the", "'s", "123", "\r\n", "  ", "\u00E9", "\u4E2D"}) add_merges(spec, word);
  return sealed(std::move(spec));
}

std::shared_ptr<const Tokenizer> byte_fallback_tokenizer() {
  BpeSpec spec;
  spec.order = MergeOrder::kScore;
  spec.byte_fallback = true;
  spec.normalizer.push_back({TextStep::kPrepend, " ", ""});
  spec.strip_leading_space = true;
  for (int byte = 0; byte < 256; ++byte) {
    LAW(set_piece(spec, byte, {std::string(1, static_cast<char>(byte)), PieceKind::kByte}).ok());
  }
  float score = 0;
  for (const char* piece : {" ", "a", "b", "\u00E9", " a", "ab", "  "}) {
    LAW(set_piece(spec, static_cast<int64_t>(spec.pieces.size()), {piece, PieceKind::kNormal, --score}).ok());
  }
  return sealed(std::move(spec));
}

}  // namespace fulcrum::fuzz
