// A worker's answer, looked at as hostile: everything the learner will index with, add up or take the
// exponential of is checked before it is believed. Called by Book and, completion by completion, by the
// fleet. Pure.
#pragma once

#include <cstdint>

#include "engine/core/status.h"
#include "engine/types/rollout.h"

namespace fulcrum {

struct ResultLimits {
  int64_t vocab_size = 0;
  int64_t max_text_bytes_per_token =
      1024;  // texts are decoded tokens: no vocabulary has pieces as long as this
};

// kInvalidArgument saying what is wrong: lengths out of range, tokens outside the vocabulary, log-probs that
// are not finite or above 0 (beyond 1e-6 of rounding), an unfinished completion.
Status check_completion(const Completion& completion, const SamplingParams& sampling,
                        const ResultLimits& limits);

// The same for a whole group: another version, index or number of completions than asked for, or a completion
// that is wrong.
Status check_result(const RolloutRequest& request, PolicyVersion version, const RolloutGroup& result,
                    const ResultLimits& limits);

}  // namespace fulcrum
