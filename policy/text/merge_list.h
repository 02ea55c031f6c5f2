// Vocabulary maps (spelled piece -> id) and merge lists, as tokenizer.json, vocab.json and GGUF have them:
// fills the pieces and merges of a BpeSpec. Called by the readers while they run.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "engine/core/json.h"
#include "policy/text/bpe_tokenizer.h"

namespace fulcrum {

class MergeList {
 public:
  // A JSON object of spelled pieces; spec.byte_level and spec.byte_fallback say how they are spelled.
  static Result<MergeList> from_vocabulary(const SortedJson& vocab, BpeSpec& spec);

  Status add_piece(std::string spelled, int64_t id, BpeSpec& spec);
  // "left right": the next best pair.
  Status add_line(std::string_view line, BpeSpec& spec);
  Status add_pair(std::string_view left, std::string_view right, BpeSpec& spec);
  std::optional<TokenId> find(std::string_view spelled) const;

 private:
  std::unordered_map<std::string, TokenId> ids_;  // by spelling
};

}  // namespace fulcrum
