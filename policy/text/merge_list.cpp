#include "policy/text/merge_list.h"

#include <charconv>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/byte_alphabet.h"

namespace fulcrum {
namespace {

// "<0x0A>": how pieces for single bytes are spelled.
std::optional<char> byte_piece(std::string_view spelled) {
  if (spelled.size() != 6 || !spelled.starts_with("<0x") || spelled[5] != '>') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(spelled.data() + 3, spelled.data() + 5, value, 16);
  if (error != std::errc() || end != spelled.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

BpePiece piece_of(const std::string& spelled, const BpeSpec& spec) {
  if (spec.byte_level) {
    // What is not spelled in the byte alphabet can only be an added token: never met in text.
    if (auto bytes = bytes_of_spelling(spelled)) return {std::move(*bytes), PieceKind::kNormal};
    return {spelled, PieceKind::kAdded};
  }
  if (spec.byte_fallback) {
    if (const auto byte = byte_piece(spelled)) return {std::string(1, *byte), PieceKind::kByte};
  }
  return {spelled, PieceKind::kNormal};
}

}  // namespace

Result<MergeList> MergeList::from_vocabulary(const SortedJson& vocab, BpeSpec& spec) {
  if (!vocab.is_object()) return invalid_argument("the vocabulary must be a JSON object of pieces and ids");
  MergeList list;
  for (const auto& [spelled, id] : vocab.items()) {
    if (!id.is_number_integer())
      return invalid_argument("the id of piece " + in_quotes(spelled) + " is not an integer");
    TRY_DO(list.add_piece(spelled, id.get<int64_t>(), spec));
  }
  return list;
}

Status MergeList::add_piece(std::string spelled, int64_t id, BpeSpec& spec) {
  TRY_DO(set_piece(spec, id, piece_of(spelled, spec)));
  ids_.emplace(std::move(spelled), static_cast<TokenId>(id));
  return ok_status();
}

Status MergeList::add_line(std::string_view line, BpeSpec& spec) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos)
    return invalid_argument("the merge " + in_quotes(line) + " is not two pieces");
  return add_pair(line.substr(0, space), line.substr(space + 1), spec);
}

Status MergeList::add_pair(std::string_view left, std::string_view right, BpeSpec& spec) {
  if (static_cast<int64_t>(spec.merges.size()) >= kMaxVocabulary)
    return invalid_argument("there are too many merges");
  const auto left_id = find(left), right_id = find(right),
             joined = find(std::string(left) + std::string(right));
  if (!left_id || !right_id || !joined) {
    return invalid_argument("the merge of " + in_quotes(left) + " and " + in_quotes(right) +
                            " names a piece that is not in the vocabulary");
  }
  const auto rank = static_cast<int32_t>(spec.merges.size());
  spec.merges.try_emplace(pair_key(*left_id, *right_id), rank, *joined);
  return ok_status();
}

std::optional<TokenId> MergeList::find(std::string_view spelled) const {
  const auto hit = ids_.find(std::string(spelled));
  if (hit == ids_.end()) return std::nullopt;
  return hit->second;
}

}  // namespace fulcrum
