// Who judges: a reward function scores completions of prompts. Called by the pipeline (through
// reward/pool.h), the `score` and `eval` verbs and the reward service.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/clock.h"
#include "engine/core/json.h"
#include "engine/types/rollout.h"
#include "engine/types/verdict.h"

namespace fulcrum {

struct RewardRequest {
  std::string_view prompt;
  std::string_view completion;
  const Json* columns =
      nullptr;             // the data row: `solution` (aliases `answer`, `ground_truth`) and all the rest
  int64_t num_tokens = 0;  // tokens of the completion
  bool truncated = false;  // ended by the length limit
};

class RewardFunction {
 public:
  virtual ~RewardFunction() = default;
  virtual std::string_view name() const = 0;
  // One verdict a request, in order. Thread-safe, never throws, returns soon after the deadline or the stop
  // request (then with kTimeout verdicts).
  virtual std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline deadline,
                                     std::stop_token stop) const = 0;
};

// The reference answer of a row: the first of `solution`, `answer`, `ground_truth` that is there (numbers are
// printed).
Result<std::string> solution_of(const Json& columns);

}  // namespace fulcrum
