// What each id looks like in text: decoding for every tokenizer. Immutable after building, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/types/rollout.h"

namespace fulcrum {

// The space that encoding put before the text, and decoding takes away again.
enum class LeadingSpace : uint8_t {
  kKeep,
  kStripOne,  // the first one, once
  kStripAll   // of every piece until there is text (SentencePiece with remove_extra_whitespaces)
};

class PieceTable {
 public:
  struct Entry {
    std::string shown;  // the bytes; special tokens and holes: none
    bool special = false;
    bool space_mark = false;  // `shown` begins with a space that stands for the mark before a word
  };

  PieceTable() = default;
  PieceTable(std::vector<Entry> entries, LeadingSpace leading)
      : entries_(std::move(entries)), leading_(leading) {}

  std::string decode(std::span<const TokenId> ids) const;
  bool has(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < entries_.size(); }
  bool is_special(TokenId id) const { return has(id) && entries_[static_cast<size_t>(id)].special; }
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }

 private:
  std::vector<Entry> entries_;
  LeadingSpace leading_ = LeadingSpace::kKeep;
};

}  // namespace fulcrum
