// A tokenizer for where ids are all there is. Used by the benches and checks that generate. Immutable.
#pragma once

#include "policy/text/tokenizer.h"

namespace fulcrum::bench {

// Ids are what is compared; a tokenizer without an end never stops a completion early.
class NoText final : public Tokenizer {
 public:
  Result<std::vector<TokenId>> encode(std::string_view, bool) const override {
    return std::vector<TokenId>{};
  }
  std::string decode(std::span<const TokenId>) const override { return {}; }
  int32_t vocab_size() const override { return 0; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  std::optional<TokenId> eos() const override { return std::nullopt; }
  std::optional<TokenId> pad() const override { return std::nullopt; }
  bool is_special(TokenId) const override { return false; }
};

}  // namespace fulcrum::bench
