// Measures a model folder on problems: loads it, generates, judges. What `eval` and `demo` share.
#pragma once

#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/pipeline/evaluate.h"
#include "reward/reward_config.h"

namespace fulcrum::cli {

struct MeasureOptions {
  std::string model;                // folder or file
  std::string tokenizer, splitter;  // empty: the model's own
  std::vector<std::string> files;   // prompts with solutions
  std::vector<RewardConfig> rewards;
  double correct_reward = 1;
  int64_t num_generations = 16;
  std::vector<int64_t> k = {1, 4, 16};
  SamplingParams sampling;
  int64_t max_batch = 64;
  uint64_t seed = 0;
};

Result<EvalReport> measure(const MeasureOptions& options, std::stop_token stop);

}  // namespace fulcrum::cli
