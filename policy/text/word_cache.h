// The ids of words that were met before: running text says the same words again and again. A table of fixed
// size, each word in the one place that its hash gives it, where it drives out another. Exact: the word
// itself is compared. Owned by the BPE tokenizer. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/types/rollout.h"

namespace fulcrum {

class WordCache {
 public:
  // The ids of the word, if it is here. Valid until the next remember().
  std::span<const TokenId> find(std::string_view word) const {
    if (word.size() > kLongest || entries_.empty()) return {};
    const Entry& e = entries_[place(word)];
    const bool here = e.length == word.size() && std::memcmp(e.word.data(), word.data(), word.size()) == 0;
    return here ? std::span(e.ids.data(), e.count) : std::span<const TokenId>();
  }

  // Words that are long, or fall into many ids, are rare: they are left out, as are those without any id.
  void remember(std::string_view word, std::span<const TokenId> ids) {
    if (word.empty() || word.size() > kLongest || ids.empty() || ids.size() > kMostIds) return;
    if (entries_.empty()) entries_.resize(kEntries);
    Entry& e = entries_[place(word)];
    std::memcpy(e.word.data(), word.data(), word.size());
    std::memcpy(e.ids.data(), ids.data(), ids.size_bytes());
    e.length = static_cast<uint8_t>(word.size());
    e.count = static_cast<uint8_t>(ids.size());
  }

  static constexpr size_t kLongest = 30, kMostIds = 8;

 private:
  static constexpr size_t kEntries = size_t{1} << 16;  // 4 MiB

  struct Entry {
    std::array<TokenId, kMostIds> ids;
    uint8_t length = 0, count = 0;
    std::array<char, kLongest> word;
  };
  static_assert(sizeof(Entry) == 64, "one line of the processor's cache");

  static size_t place(std::string_view word) { return std::hash<std::string_view>()(word) % kEntries; }

  std::vector<Entry> entries_;
};

}  // namespace fulcrum
