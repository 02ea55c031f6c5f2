// What flows from the data to the learner: prompts, completions and groups of them. Plain values, torch-free.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/json.h"

namespace fulcrum {

using TokenId = int32_t;

// Which weights: `epoch` counts restarts of the learner's history (a fence), `step` the optimizer steps.
struct PolicyVersion {
  int64_t epoch = 0;
  int64_t step = 0;
  auto operator<=>(const PolicyVersion&) const = default;
};

// One row of the data set, ready to be continued.
struct Prompt {
  int64_t row = 0;           // 0-based row in the data file
  std::string text;          // the prompt column (after a template, if there is one)
  std::vector<TokenId> ids;  // its tokens, BOS included where the tokenizer says so
  Json columns;              // the whole row as read; the reward sees it
};

// How tokens are drawn. The names are the config's.
struct SamplingParams {
  double temperature = 1.0;  // 0 is greedy
  int64_t top_k = 0;         // 0: off
  double top_p = 1.0;        // 1: off
  double min_p = 0.0;        // 0: off
  int64_t max_completion_length = 256;
  std::vector<std::string> stop;  // texts that end a completion (kept in it)
  std::vector<TokenId> stop_ids;  // tokens that end a completion (kept in it); EOS is always among them
};

enum class FinishReason : int { kStop = 0, kLength = 1, kCancelled = 2 };
inline std::string finish_reason_name(FinishReason r) {
  return r == FinishReason::kStop ? "stop" : r == FinishReason::kLength ? "length" : "cancelled";
}

struct Completion {
  std::vector<TokenId> ids;  // EOS included when it was drawn
  std::vector<float>
      logps;         // ids.size(): log-softmax(logits / temperature)[id], unfiltered; greedy: temperature 1
  std::string text;  // decoded, special tokens left out
  FinishReason finish = FinishReason::kStop;
};

// The completions of one prompt.
struct RolloutGroup {
  int64_t index = 0;  // position among the prompts of the step
  Prompt prompt;
  std::vector<Completion> completions;
  PolicyVersion version;  // the weights that drew every token of it
};

// One prompt to continue `num_generations` times. Sampling noise of token t of completion g is number t of
// the stream (seed, purpose, step, index, g): nothing else, so any worker draws the same tokens.
struct RolloutRequest {
  uint64_t seed = 0;
  bool evaluation = false;  // draws from the evaluation streams instead of the training streams
  int64_t step = 0;
  int64_t index = 0;
  Prompt prompt;
  int64_t num_generations = 1;
  SamplingParams sampling;
};

}  // namespace fulcrum
