#include "policy/text/bpe_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "engine/core/text.h"
#include "policy/text/bpe_merge.h"
#include "policy/text/byte_alphabet.h"
#include "policy/text/piece_table.h"
#include "policy/text/unicode.h"
#include "policy/text/word_cache.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxText = size_t{1} << 30;
constexpr size_t kMaxNormal = size_t{1} << 31;  // positions in a word are 32-bit
constexpr double kMaxGrowth = 64;  // how many times longer the replacements of a file may make a text

std::string apply_steps(const std::vector<TextStep>& steps, std::string_view text, bool first) {
  std::string out(text);
  for (const TextStep& step : steps) {
    if (step.kind == TextStep::kNfc) {
      out = normalize_nfc(out);
    } else if (step.kind == TextStep::kReplace) {
      out = replace_all(out, step.a, step.b);
    } else if (!out.empty()) {
      const bool there = step.kind != TextStep::kPrepend && out.starts_with(step.a);
      const bool skip = step.kind == TextStep::kPrependUnlessThereFirst && !first;
      if (!there && !skip) out.insert(0, step.a);
    }
  }
  return out;
}

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(BpeSpec spec, TokenizerSource source);

  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special) const override;
  std::string decode(std::span<const TokenId> ids) const override { return table_.decode(ids); }
  int32_t vocab_size() const override { return table_.size(); }
  std::optional<TokenId> bos() const override { return spec_.special.bos; }
  std::optional<TokenId> eos() const override { return spec_.special.eos; }
  std::optional<TokenId> pad() const override { return spec_.special.pad; }
  bool is_special(TokenId id) const override { return table_.is_special(id); }

 private:
  void index_pieces();
  void build_table();
  void build_matchers();
  TokenId find(std::string_view piece) const;
  // `cache`: this call's own, or none.
  Status encode_section(std::string_view text, bool first, WordCache* cache, std::vector<TokenId>& ids) const;
  Status encode_words(std::string_view text, WordCache* cache, std::vector<TokenId>& ids) const;
  Status encode_word(std::string_view word, std::vector<TokenId>& ids) const;
  std::vector<BpeSymbol> symbols_of(std::string_view word) const;
  std::optional<BpeJoin> join(std::string_view word, const BpeSymbol& left, const BpeSymbol& right) const;
  // `joined`: the symbol before was unknown too.
  Status append_unknown(std::string_view character, bool joined, std::vector<TokenId>& ids) const;

  BpeSpec spec_;
  PieceTable table_;
  std::unordered_map<std::string_view, TokenId> by_text_;  // kNormal pieces; views into spec_.pieces
  size_t longest_piece_ = 0;
  std::array<TokenId, 256> byte_ids_{};  // -1: no piece for this byte
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  mutable std::mutex cache_owner_;  // held by the one call that has the cache; others at that time do without
  mutable WordCache cache_;
};

BpeTokenizer::BpeTokenizer(BpeSpec spec, TokenizerSource source) : spec_(std::move(spec)) {
  content_hash_ = std::move(source.content_hash);
  files_ = std::move(source.files);
  index_pieces();
  build_table();
  build_matchers();
}

void BpeTokenizer::index_pieces() {
  byte_ids_.fill(-1);
  by_text_.reserve(spec_.pieces.size());
  for (size_t i = 0; i < spec_.pieces.size(); ++i) {
    const BpePiece& piece = spec_.pieces[i];
    const auto id = static_cast<TokenId>(i);
    const bool normal = piece.kind == PieceKind::kNormal && !piece.text.empty();
    if (normal) {
      by_text_.emplace(piece.text, id);
      longest_piece_ = std::max(longest_piece_, piece.text.size());
    }
    // A byte may have only a special piece; then that spells it in text all the same.
    const bool is_byte =
        piece.text.size() == 1 &&
        (spec_.byte_level ? normal || piece.kind == PieceKind::kSpecial : piece.kind == PieceKind::kByte);
    TokenId& byte_id = byte_ids_[is_byte ? static_cast<unsigned char>(piece.text[0]) : 0];
    if (is_byte && (normal || byte_id < 0)) byte_id = id;
  }
}

void BpeTokenizer::build_table() {
  std::vector<PieceTable::Entry> entries(spec_.pieces.size());
  const SpecialTokens& special = spec_.special;
  for (size_t i = 0; i < entries.size(); ++i) {
    const BpePiece& piece = spec_.pieces[i];
    const auto id = static_cast<TokenId>(i);
    const bool ends = special.bos == id || special.eos == id || special.pad == id;
    // Files may name the unknown token for padding; it still shows, or broken text would look whole.
    entries[i].special = piece.kind == PieceKind::kSpecial || (ends && piece.kind != PieceKind::kUnknown);
    if (entries[i].special || piece.kind == PieceKind::kHole) continue;
    std::string shown = piece.text;
    if (piece.kind == PieceKind::kNormal) {
      for (const auto& [from, to] : spec_.decode_replace) shown = replace_all(shown, from, to);
    }
    entries[i].space_mark = piece.kind == PieceKind::kNormal && shown.starts_with(' ');
    entries[i].shown = std::move(shown);
  }
  table_ = PieceTable(std::move(entries),
                      spec_.strip_leading_space ? LeadingSpace::kStripOne : LeadingSpace::kKeep);
}

void BpeTokenizer::build_matchers() {
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : spec_.added) {
    if (table_.is_special(token.id) || token.id == spec_.unknown) continue;
    if (token.normalized) token.content = apply_steps(spec_.normalizer, token.content, true);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  spec_.added.clear();
  raw_matcher_ = AddedTokenMatcher(std::move(raw));
  normalized_matcher_ = AddedTokenMatcher(std::move(normalized));
}

TokenId BpeTokenizer::find(std::string_view piece) const {
  if (piece.size() > longest_piece_) return -1;
  const auto hit = by_text_.find(piece);
  return hit == by_text_.end() ? -1 : hit->second;
}

Result<std::vector<TokenId>> BpeTokenizer::encode(std::string_view text, bool add_special) const {
  if (text.size() > kMaxText)
    return invalid_argument("a text of more than 1 GiB cannot be tokenised in one piece");
  if (!spec_.byte_level && !is_valid_utf8(text)) {
    return invalid_argument("the text " + in_quotes(text, 60) +
                            " is not UTF-8, and this tokenizer has no bytes for it");
  }
  std::vector<TokenId> ids;
  if (add_special) ids = spec_.prefix;
  bool first = true;
  const std::unique_lock owner(cache_owner_, std::try_to_lock);
  WordCache* const cache = owner.owns_lock() ? &cache_ : nullptr;
  for (const auto& section : raw_matcher_.split(text)) {
    if (section.token >= 0) {
      ids.push_back(section.token);
    } else {
      TRY_DO(encode_section(section.text, first, cache, ids));
    }
    first = false;
  }
  if (add_special) ids.insert(ids.end(), spec_.suffix.begin(), spec_.suffix.end());
  return ids;
}

Status BpeTokenizer::encode_section(std::string_view text, bool first, WordCache* cache,
                                    std::vector<TokenId>& ids) const {
  const std::string normal = apply_steps(spec_.normalizer, text, first);
  if (normal.size() > kMaxNormal) return invalid_argument("the normalised text is longer than 2 GiB");
  for (const auto& section : normalized_matcher_.split(normal)) {
    if (section.token >= 0) {
      ids.push_back(section.token);
    } else {
      TRY_DO(encode_words(apply_steps(spec_.before_split, section.text, first), cache, ids));
    }
    first = false;
  }
  return ok_status();
}

Status BpeTokenizer::encode_words(std::string_view text, WordCache* cache, std::vector<TokenId>& ids) const {
  std::vector<std::string_view> words;
  if (!text.empty()) words.push_back(text);
  for (const Splitter splitter : spec_.splitters) {
    std::vector<std::string_view> finer;
    for (const std::string_view word : words) split_words(splitter, word, finer);
    words = std::move(finer);
  }
  for (const std::string_view word : words) {
    const auto known = cache == nullptr ? std::span<const TokenId>() : cache->find(word);
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      continue;
    }
    const size_t before = ids.size();
    TRY_DO(encode_word(word, ids));
    if (cache != nullptr) cache->remember(word, std::span(ids).subspan(before));
  }
  return ok_status();
}

Status BpeTokenizer::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (spec_.whole_word_first) {
    if (const TokenId id = find(word); id >= 0) {
      ids.push_back(id);
      return ok_status();
    }
  }
  std::vector<BpeSymbol> symbols = symbols_of(word);
  merge_symbols(symbols,
                [&](const BpeSymbol& left, const BpeSymbol& right) { return join(word, left, right); });
  bool unknown_before = false;
  for (const BpeSymbol& symbol : symbols) {
    const bool unknown = symbol.id < 0;
    if (unknown) {
      TRY_DO(append_unknown(word.substr(symbol.begin, symbol.length), unknown_before, ids));
    } else {
      ids.push_back(symbol.id);
    }
    unknown_before = unknown;
  }
  return ok_status();
}

std::vector<BpeSymbol> BpeTokenizer::symbols_of(std::string_view word) const {
  std::vector<BpeSymbol> symbols;
  symbols.reserve(word.size());
  for (size_t i = 0; i < word.size();) {
    const uint32_t length = spec_.byte_level ? 1 : first_char(word.substr(i)).length;
    const TokenId id =
        spec_.byte_level ? byte_ids_[static_cast<unsigned char>(word[i])] : find(word.substr(i, length));
    symbols.push_back({static_cast<uint32_t>(i), length, id});
    i += length;
  }
  return symbols;
}

std::optional<BpeJoin> BpeTokenizer::join(std::string_view word, const BpeSymbol& left,
                                          const BpeSymbol& right) const {
  if (spec_.order == MergeOrder::kScore) {
    const TokenId id = find(word.substr(left.begin, size_t{left.length} + right.length));
    if (id < 0) return std::nullopt;
    return BpeJoin{spec_.pieces[static_cast<size_t>(id)].score, id};
  }
  const auto merge = spec_.merges.find(pair_key(left.id, right.id));
  if (merge == spec_.merges.end()) return std::nullopt;
  return BpeJoin{-static_cast<float>(merge->second.first), merge->second.second};
}

Status BpeTokenizer::append_unknown(std::string_view character, bool joined,
                                    std::vector<TokenId>& ids) const {
  const bool spelled = spec_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char c) {
                         return byte_ids_[static_cast<unsigned char>(c)] >= 0;
                       });
  if (spelled) {
    for (const char c : character) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  } else if (spec_.unknown) {
    const bool fused = spec_.fuse_unknown && joined && ids.back() == *spec_.unknown;
    if (!fused) ids.push_back(*spec_.unknown);
  } else {
    return invalid_argument("the tokenizer has no piece for " + in_quotes(character) +
                            " and no unknown token");
  }
  return ok_status();
}

// A few dozen rules a -> aa would turn one letter into all the memory there is.
double growth(double before, std::string_view from, std::string_view to) {
  return before * std::max(1.0, static_cast<double>(to.size()) / static_cast<double>(from.size()));
}

Status check_growth(const BpeSpec& spec) {
  double encoded = 1, decoded = 1;
  for (const auto* steps : {&spec.normalizer, &spec.before_split}) {
    for (const TextStep& step : *steps) {
      if (step.kind == TextStep::kReplace) encoded = growth(encoded, step.a, step.b);
    }
  }
  for (const auto& [from, to] : spec.decode_replace) decoded = growth(decoded, from, to);
  if (std::max(encoded, decoded) <= kMaxGrowth) return ok_status();
  return invalid_argument("the file's replacements could make a text more than 64 times longer");
}

Status check(const BpeSpec& spec) {
  TRY_DO(check_growth(spec));
  if (spec.pieces.empty()) return invalid_argument("the vocabulary is empty");
  const auto inside = [&](TokenId id) { return id >= 0 && static_cast<size_t>(id) < spec.pieces.size(); };
  for (const auto* around : {&spec.prefix, &spec.suffix}) {
    for (const TokenId id : *around) {
      if (!inside(id))
        return invalid_argument("the template names id " + std::to_string(id) + ", outside the vocabulary");
    }
  }
  for (const auto& id : {spec.special.bos, spec.special.eos, spec.special.pad, spec.unknown}) {
    if (id && !inside(*id))
      return invalid_argument("special id " + std::to_string(*id) + " is outside the vocabulary");
  }
  for (const BpePiece& piece : spec.pieces) {
    if (!std::isfinite(piece.score))
      return invalid_argument("the piece " + in_quotes(piece.text) + " has no finite score");
  }
  return ok_status();
}

}  // namespace

Status set_piece(BpeSpec& spec, int64_t id, BpePiece piece) {
  if (id < 0 || id >= kMaxVocabulary) {
    return invalid_argument("token " + in_quotes(piece.text) + " has id " + std::to_string(id) +
                            ", outside 0 to " + std::to_string(kMaxVocabulary - 1));
  }
  const auto at = static_cast<size_t>(id);
  if (at >= spec.pieces.size()) spec.pieces.resize(at + 1);
  if (spec.pieces[at].kind != PieceKind::kHole && spec.pieces[at].text != piece.text) {
    return invalid_argument("id " + std::to_string(id) + " belongs to both " +
                            in_quotes(spec.pieces[at].text) + " and " + in_quotes(piece.text));
  }
  spec.pieces[at] = std::move(piece);
  return ok_status();
}

Status add_token(BpeSpec& spec, AddedToken token) {
  const auto at = static_cast<size_t>(token.id);
  const bool listed = token.id >= 0 && at < spec.pieces.size() && spec.pieces[at].kind != PieceKind::kHole;
  // A byte-level vocabulary spells the token in its own alphabet; the piece stays what it is in text.
  const bool same_bytes =
      listed && spec.byte_level && bytes_of_spelling(token.content) == spec.pieces[at].text;
  if (!same_bytes)
    TRY_DO(set_piece(spec, token.id, {token.content, listed ? spec.pieces[at].kind : PieceKind::kAdded}));
  PieceKind& kind = spec.pieces[at].kind;
  if (token.special) kind = spec.unknown == token.id ? PieceKind::kUnknown : PieceKind::kSpecial;
  spec.added.push_back(std::move(token));
  return ok_status();
}

std::optional<TokenId> find_token(const BpeSpec& spec, std::string_view content) {
  for (const AddedToken& token : spec.added) {
    if (token.content == content) return token.id;
  }
  for (size_t i = 0; i < spec.pieces.size(); ++i) {
    const BpePiece& piece = spec.pieces[i];
    if (piece.kind != PieceKind::kHole && piece.text == content) return static_cast<TokenId>(i);
  }
  return std::nullopt;
}

void use_splitter(BpeSpec& spec, Splitter splitter) {
  spec.splitters.push_back(splitter);
  if (splitter == Splitter::kQwen2) spec.normalizer.push_back({.kind = TextStep::kNfc});
}

void use_flags_as_template(BpeSpec& spec) {
  if (spec.special.add_bos && spec.special.bos) spec.prefix = {*spec.special.bos};
  if (spec.special.add_eos && spec.special.eos) spec.suffix = {*spec.special.eos};
}

Result<std::shared_ptr<const Tokenizer>> make_bpe_tokenizer(BpeSpec spec, TokenizerSource source) {
  TRY_DO(check(spec));
  return std::shared_ptr<const Tokenizer>(std::make_shared<BpeTokenizer>(std::move(spec), std::move(source)));
}

}  // namespace fulcrum
