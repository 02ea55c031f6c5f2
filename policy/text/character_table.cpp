// One id a character, as tokenizer_config.json with "char_ords" describes it.
#include <array>
#include <set>
#include <string>

#include "policy/text/unicode.h"
#include "policy/text/vocabulary_readers.h"

namespace fulcrum {
namespace {

constexpr TokenId kSeparator = 0, kEnd = 1, kPad = 2, kUnknown = 3, kFirstCharacter = 4;
constexpr std::array<const char*, 4> kNames = {"S", "E", "P", "U"};

bool is_scalar_value(int64_t point) {
  return point >= 0 && point <= 0x10FFFF && !(point >= 0xD800 && point <= 0xDFFF);
}

}  // namespace

Result<BpeSpec> read_character_table(const Json& config) {
  const auto ords = config.is_object() ? config.find("char_ords") : config.end();
  if (ords == config.end() || !ords->is_array())
    return invalid_argument("the character table has no list char_ords");
  BpeSpec spec;
  for (TokenId id = 0; id < kFirstCharacter; ++id) {
    const PieceKind kind = id == kUnknown ? PieceKind::kUnknown : PieceKind::kSpecial;
    TRY_DO(set_piece(spec, id, {kNames[static_cast<size_t>(id)], kind}));
  }
  spec.unknown = kUnknown;
  std::set<int64_t> seen;
  for (const Json& ord : *ords) {
    const int64_t point = ord.is_number_integer() ? ord.get<int64_t>() : -1;
    if (!is_scalar_value(point)) return invalid_argument("char_ords has an entry that is not a code point");
    if (!seen.insert(point).second)
      return invalid_argument("char_ords has code point " + std::to_string(point) + " twice");
    const auto id = static_cast<int64_t>(spec.pieces.size());
    TRY_DO(set_piece(spec, id, {to_utf8(static_cast<char32_t>(point)), PieceKind::kNormal}));
  }
  spec.special = {.eos = kEnd, .pad = kPad};
  const auto chat = config.find("chat_template");
  const bool separates = chat != config.end() && chat->is_string() &&
                         chat->get_ref<const std::string&>().find("sep_token") != std::string::npos;
  if (separates) spec.suffix = {kSeparator};
  return spec;
}

}  // namespace fulcrum
