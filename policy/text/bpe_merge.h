// The merge loop of byte-pair encoding: join the best adjacent pair, leftmost first, until no pair joins. A
// queue of candidates makes it O(n log n) in the length of the word, however long. Called by the BPE
// tokenizer. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

#include "engine/types/rollout.h"

namespace fulcrum {

// A piece of the word: bytes [begin, begin + length), and its id or -1 if the vocabulary lacks it.
struct BpeSymbol {
  uint32_t begin = 0;
  uint32_t length = 0;
  TokenId id = -1;
};

struct BpeJoin {
  float priority = 0;  // higher joins first
  TokenId id = -1;
};

// join(left, right): what the pair becomes, or nothing. Leaves the merged symbols, in order, in `symbols`.
template <class Join>
void merge_symbols(std::vector<BpeSymbol>& symbols, const Join& join) {
  struct Candidate {
    float priority;
    uint32_t left, right;
    uint32_t length;  // of both when the candidate was made: stale if it differs
    TokenId id;
    bool operator<(const Candidate& other) const {  // "comes later"
      return priority != other.priority ? priority < other.priority : left > other.left;
    }
  };
  constexpr uint32_t kNone = UINT32_MAX;
  const auto n = static_cast<uint32_t>(symbols.size());
  if (n < 2) return;
  std::vector<uint32_t> previous(n), next(n);
  for (uint32_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 == n ? kNone : i + 1;
  }
  std::priority_queue<Candidate> queue;
  const auto consider = [&](uint32_t left, uint32_t right) {
    if (left == kNone || right == kNone) return;
    if (const std::optional<BpeJoin> made = join(symbols[left], symbols[right])) {
      queue.push({made->priority, left, right, symbols[left].length + symbols[right].length, made->id});
    }
  };
  for (uint32_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    BpeSymbol& left = symbols[best.left];
    BpeSymbol& right = symbols[best.right];
    // A joined symbol has length 0; a longer one was joined since.
    if (left.length == 0 || right.length == 0 || left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    right.length = 0;
    next[best.left] = next[best.right];
    if (next[best.left] != kNone) previous[next[best.left]] = best.left;
    consider(previous[best.left], best.left);
    consider(best.left, next[best.left]);
  }
  std::erase_if(symbols, [](const BpeSymbol& s) { return s.length == 0; });
}

}  // namespace fulcrum
