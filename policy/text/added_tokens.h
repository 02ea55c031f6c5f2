// Tokens that are looked for in the text before BPE sees it: the "added tokens" that are not special (special
// tokens are never read from text). Called by the BPE tokenizer. Immutable, thread-safe.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/types/rollout.h"

namespace fulcrum {

struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = false;
  bool normalized = false;   // looked for in the normalised text, not in the text as it came
  bool single_word = false;  // only where no letter or digit touches it
  bool lstrip = false;       // takes the spaces before it along
  bool rstrip = false;       // takes the spaces after it along
};

class AddedTokenMatcher {
 public:
  struct Section {
    std::string_view text;
    TokenId token = -1;  // -1: plain text
  };

  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);
  AddedTokenMatcher(AddedTokenMatcher&&) = default;
  AddedTokenMatcher& operator=(AddedTokenMatcher&&) = default;

  // The text as plain sections and tokens, in order; the leftmost and there the longest token wins.
  std::vector<Section> split(std::string_view text) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string_view, size_t> by_content_;  // views into tokens_, which never changes
  std::array<std::vector<size_t>, 256> lengths_;  // by first byte: the lengths that occur, longest first
};

}  // namespace fulcrum
