// A worker's answer, looked at as hostile: everything the learner will index with, add up or take the
// exponential of is checked before it is believed. Called by Book. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/core/status.h"
#include "engine/types/rollout.h"

namespace fulcrum {

struct ResultLimits {
  int64_t vocab_size = 0;
  int64_t max_text_bytes_per_token =
      1024;  // texts are decoded tokens: no vocabulary has pieces as long as this
  // The text of tokens by the learner's own tokenizer; null: texts are believed. Thread-safe.
  std::function<std::string(std::span<const TokenId>)> text_of;
};

// kInvalidArgument saying what is wrong: another version, index or number of completions than asked for,
// lengths out of range, tokens outside the vocabulary, log-probs that are not finite or above 0 (beyond 1e-6
// of rounding), an unfinished completion, a text that is not its tokens'.
Status check_result(const RolloutRequest& request, PolicyVersion version, const RolloutGroup& result,
                    const ResultLimits& limits);

}  // namespace fulcrum
