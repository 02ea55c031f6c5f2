#include "policy/text/sentencepiece_check.h"

#include <cstdint>
#include <cstring>

namespace fulcrum {
namespace {

constexpr uint64_t kPieces = 1, kNormalizerSpec = 3, kDenormalizerSpec = 5;  // fields of ModelProto
constexpr uint64_t kCharacterMap = 2;                                        // of NormalizerSpec

Status damaged() { return invalid_argument("not a SentencePiece model, or a damaged one"); }

Result<uint64_t> take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  return damaged();
}

// Calls visit(field, payload) for every length-delimited field of a protobuf message.
template <class Visit>
Status walk(std::string_view message, const Visit& visit) {
  while (!message.empty()) {
    TRY(tag, take_varint(message));
    uint64_t length = 0;
    switch (tag & 7) {
      case 0:
        TRY_DO(take_varint(message));
        continue;
      case 1:
        length = 8;
        break;
      case 5:
        length = 4;
        break;
      case 2: {
        TRY(stated, take_varint(message));
        length = stated;
        break;
      }
      default:
        return damaged();
    }
    if (length > message.size()) return damaged();
    if ((tag & 7) == 2) TRY_DO(visit(tag >> 3, message.substr(0, length)));
    message.remove_prefix(length);
  }
  return ok_status();
}

// uint32 size of the trie, the trie, the replacement texts. A unit of the trie (Darts-clone) at p leads to
// p ^ offset ^ byte for any byte: the whole block of 256 around p ^ offset must exist. Units with bit 31 are
// values.
Status check_character_map(std::string_view map) {
  uint32_t size = 0;
  if (map.size() < sizeof(size)) return damaged();
  std::memcpy(&size, map.data(), sizeof(size));
  if (size > map.size() - sizeof(size) || size % 1024 != 0) return damaged();
  const uint32_t units = size / 4;
  for (uint32_t p = 0; p < units; ++p) {
    uint32_t unit = 0;
    std::memcpy(&unit, map.data() + sizeof(size) + size_t{p} * 4, sizeof(unit));
    const uint32_t offset = (unit >> 10) << ((unit & (1u << 9)) >> 6);
    if ((unit >> 31) == 0 && ((p ^ offset) | 0xFF) >= units) {
      return invalid_argument("the character map of the SentencePiece model is damaged");
    }
  }
  return ok_status();
}

}  // namespace

Status check_sentencepiece_model(std::string_view model) {
  bool has_pieces = false;
  TRY_DO(walk(model, [&](uint64_t field, std::string_view payload) -> Status {
    has_pieces = has_pieces || field == kPieces;
    if (field != kNormalizerSpec && field != kDenormalizerSpec) return ok_status();
    return walk(payload, [&](uint64_t inner, std::string_view map) -> Status {
      if (inner != kCharacterMap || map.empty()) return ok_status();
      if (field == kDenormalizerSpec)
        return invalid_argument("a SentencePiece model with a denormalizer is not supported");
      return check_character_map(map);
    });
  }));
  return has_pieces ? ok_status() : damaged();
}

}  // namespace fulcrum
