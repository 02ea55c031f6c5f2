// The tokenizer of llama2.c (tokenizer.bin, tok512.bin): int32 longest piece, then float32 score, int32
// length, bytes.
#include <cstring>
#include <string>

#include "policy/text/vocabulary_readers.h"

namespace fulcrum {
namespace {

constexpr int64_t kFirstByte = 3, kFirstPiece = kFirstByte + 256;
constexpr int32_t kLongestPiece = 1 << 16;

template <class T>
bool take(std::string_view& bytes, T& value) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return true;
}

BpePiece piece_of(int64_t id, std::string_view text, float score) {
  if (id == 0) return {"<unk>", PieceKind::kUnknown};
  if (id < kFirstByte) return {std::string(text), PieceKind::kSpecial};
  if (id < kFirstPiece) return {std::string(1, static_cast<char>(id - kFirstByte)), PieceKind::kByte};
  return {std::string(text), PieceKind::kNormal, score};
}

}  // namespace

Result<BpeSpec> read_llama2c_vocabulary(std::string_view bytes) {
  BpeSpec spec;
  spec.order = MergeOrder::kScore;
  spec.byte_fallback = true;
  spec.unknown = 0;
  spec.normalizer.push_back({TextStep::kPrepend, " ", ""});
  spec.strip_leading_space = true;
  int32_t longest = 0;
  if (!take(bytes, longest) || longest <= 0 || longest > kLongestPiece) {
    return invalid_argument("not a llama2.c tokenizer: its longest piece cannot have that length");
  }
  for (int64_t id = 0; !bytes.empty(); ++id) {
    float score = 0;
    int32_t length = 0;
    if (!take(bytes, score) || !take(bytes, length) || length < 0 ||
        static_cast<size_t>(length) > bytes.size()) {
      return invalid_argument("piece " + std::to_string(id) + " of the llama2.c tokenizer is cut short");
    }
    TRY_DO(set_piece(spec, id, piece_of(id, bytes.substr(0, static_cast<size_t>(length)), score)));
    bytes.remove_prefix(static_cast<size_t>(length));
  }
  if (static_cast<int64_t>(spec.pieces.size()) < kFirstPiece) {
    return invalid_argument("the llama2.c tokenizer has " + std::to_string(spec.pieces.size()) +
                            " pieces, less than one for every byte");
  }
  spec.special = {.bos = 1, .eos = 2, .add_bos = true};
  use_flags_as_template(spec);
  return spec;
}

}  // namespace fulcrum
