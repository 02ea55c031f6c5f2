// The text of a completion: a function of its tokens alone, so that the learner can check what a worker says.
#pragma once

#include <span>
#include <string>

#include "engine/core/text.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {

inline std::string completion_text(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  return to_valid_utf8(tokenizer.decode(ids));
}

}  // namespace fulcrum
