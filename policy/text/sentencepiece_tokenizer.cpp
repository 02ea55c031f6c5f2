#include "policy/text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <charconv>
#include <cmath>
#include <exception>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/bpe_tokenizer.h"
#include "policy/text/piece_table.h"
#include "policy/text/sentencepiece_check.h"
#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

using sentencepiece::SentencePieceProcessor;

constexpr size_t kMaxText = size_t{1} << 28;  // the library counts in int, and a character may grow

Status library_error(std::string_view what) { return invalid_argument("SentencePiece: " + printable(what)); }

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceProcessor> processor, PieceTable table,
                         SpecialTokens special, TokenizerSource source)
      : processor_(std::move(processor)), table_(std::move(table)), special_(special) {
    content_hash_ = std::move(source.content_hash);
    files_ = std::move(source.files);
  }

  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special) const override;
  std::string decode(std::span<const TokenId> ids) const override { return table_.decode(ids); }
  int32_t vocab_size() const override { return table_.size(); }
  std::optional<TokenId> bos() const override { return special_.bos; }
  std::optional<TokenId> eos() const override { return special_.eos; }
  std::optional<TokenId> pad() const override { return special_.pad; }
  bool is_special(TokenId id) const override { return table_.is_special(id); }

 private:
  std::unique_ptr<const SentencePieceProcessor> processor_;
  PieceTable table_;
  SpecialTokens special_;
};

Result<std::vector<TokenId>> SentencePieceTokenizer::encode(std::string_view text, bool add_special) const
    try {
  if (text.size() > kMaxText)
    return invalid_argument("a text of more than 256 MiB cannot be tokenised in one piece");
  if (!is_valid_utf8(text)) {
    return invalid_argument("the text " + in_quotes(text, 60) +
                            " is not UTF-8, and SentencePiece would change it");
  }
  std::vector<int> pieces;
  if (const auto status = processor_->Encode(text, &pieces); !status.ok())
    return library_error(status.message());
  std::vector<TokenId> ids;
  ids.reserve(pieces.size() + 2);
  if (add_special && special_.add_bos && special_.bos) ids.push_back(*special_.bos);
  ids.insert(ids.end(), pieces.begin(), pieces.end());
  if (add_special && special_.add_eos && special_.eos) ids.push_back(*special_.eos);
  return ids;
} catch (const std::exception& e) {
  return library_error(e.what());
}

PieceTable::Entry entry_of(const SentencePieceProcessor& processor, int id, std::string_view unknown_shown) {
  const std::string& piece = processor.IdToPiece(id);
  if (processor.IsControl(id)) return {.special = true};
  if (processor.IsUnknown(id)) return {.shown = std::string(unknown_shown)};
  if (processor.IsByte(id)) {  // "<0x0A>", as the library has checked
    unsigned byte = 0;
    std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
    return {.shown = std::string(1, static_cast<char>(byte))};
  }
  return {.shown = replace_all(piece, kSpaceMark, " "), .space_mark = piece.starts_with(kSpaceMark)};
}

// The model says only in its protobuf what it does to spaces; what it does to a text shows the same.
LeadingSpace leading_space(const SentencePieceProcessor& processor) {
  const std::string two = processor.Normalize("a  a");
  const size_t first = two.find('a'), last = two.rfind('a');
  if (first != last) {
    const std::string between = two.substr(first + 1, last - first - 1);
    if (between == kSpaceMark || between == " ") return LeadingSpace::kStripAll;
  }
  return processor.Normalize("a") != "a" ? LeadingSpace::kStripOne : LeadingSpace::kKeep;  // a dummy prefix
}

Result<std::unique_ptr<SentencePieceProcessor>> load(std::string_view model) {
  sentencepiece::SetMinLogLevel(3);  // errors come back as values; nothing is printed
  auto processor = std::make_unique<SentencePieceProcessor>();
  if (const auto status = processor->LoadFromSerializedProto(model); !status.ok())
    return library_error(status.message());
  if (processor->GetPieceSize() <= 0 || processor->GetPieceSize() > kMaxVocabulary) {
    return invalid_argument("the SentencePiece model has " + std::to_string(processor->GetPieceSize()) +
                            " pieces");
  }
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    if (!std::isfinite(processor->GetScore(id))) {
      return invalid_argument("piece " + std::to_string(id) +
                              " of the SentencePiece model has no finite score");
    }
  }
  return processor;
}

// Tokens beyond the model's own, as fine-tuned models add them. Returns an error for one that contradicts the
// model.
Status add_extra(const TokenConfig& config, const SentencePieceProcessor& processor,
                 std::vector<PieceTable::Entry>& entries) {
  for (const AddedToken& token : config.added) {
    if (token.id < processor.GetPieceSize()) {
      if (processor.IdToPiece(token.id) == token.content) continue;
      return invalid_argument("id " + std::to_string(token.id) + " is " + in_quotes(token.content) +
                              " in the config but " + in_quotes(processor.IdToPiece(token.id)) +
                              " in the SentencePiece model");
    }
    if (!token.special) {
      return invalid_argument("added token " + in_quotes(token.content) +
                              " is not special, which only a tokenizer.json can do; export one");
    }
    if (token.id >= kMaxVocabulary)
      return invalid_argument("added token " + in_quotes(token.content) + " has a wrong id");
    const auto at = static_cast<size_t>(token.id);
    if (at >= entries.size()) entries.resize(at + 1);
    entries[at].special = true;
  }
  return ok_status();
}

std::optional<TokenId> if_there(int id) { return id < 0 ? std::nullopt : std::optional<TokenId>(id); }

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_sentencepiece_tokenizer(std::string_view model,
                                                                      const TokenConfig& config,
                                                                      SourceFiles& sources) try {
  TRY_DO(check_sentencepiece_model(model));
  TRY(processor, load(model));
  std::vector<PieceTable::Entry> entries;
  const std::string unknown = processor->DecodeIds({processor->unk_id()});
  for (int id = 0; id < processor->GetPieceSize(); ++id) entries.push_back(entry_of(*processor, id, unknown));
  TRY_DO(add_extra(config, *processor, entries));
  const auto find = [&](std::string_view content) -> std::optional<TokenId> {
    for (const AddedToken& token : config.added) {
      if (token.content == content) return token.id;
    }
    const int id = processor->PieceToId(content);  // the unknown id for what it does not know
    return processor->IdToPiece(id) == content ? std::optional<TokenId>(id) : std::nullopt;
  };
  const SpecialTokens own{.bos = if_there(processor->bos_id()),
                          .eos = if_there(processor->eos_id()),
                          .pad = if_there(processor->pad_id()),
                          .add_bos = processor->bos_id() >= 0};
  TRY(special, resolve_special_tokens(config, own, find, static_cast<int64_t>(entries.size())));
  for (const auto& id : {special.bos, special.eos, special.pad}) {
    if (id && *id != processor->unk_id()) entries[static_cast<size_t>(*id)] = {.special = true};
  }
  add_choice(special, sources);
  PieceTable table(std::move(entries), leading_space(*processor));
  return std::shared_ptr<const Tokenizer>(std::make_shared<SentencePieceTokenizer>(
      std::move(processor), std::move(table), special, sources.finish()));
} catch (const std::exception& e) {
  return library_error(e.what());
}

}  // namespace fulcrum
