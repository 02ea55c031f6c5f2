// Measures a model folder on problems: loads it, generates, judges. What `eval`, `soup` and `demo` share.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/data/dataset.h"
#include "engine/pipeline/evaluate.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"
#include "reward/reward_config.h"

namespace fulcrum::cli {

struct MeasureOptions {
  std::string model;                // folder or file
  std::string tokenizer, splitter;  // empty: the model's own
  std::vector<std::string> files;   // prompts with solutions
  BadRows* bad_rows = nullptr;      // given: rows that cannot be used are left out and told here
  std::vector<RewardConfig> rewards;
  double correct_reward = 1;
  int64_t num_generations = 16;
  std::vector<int64_t> k = {1, 4, 16};
  SamplingParams sampling;
  int64_t max_batch = 64;
  std::string dtype = "float32";  // of decode_dtype_names()
  int64_t threads = 1;            // that generate; changes no result
  std::string device = "auto";    // that of generation_device()
  uint64_t seed = 0;
};

Result<EvalReport> measure(const MeasureOptions& options, std::stop_token stop);
// The same for a model in memory; `options.model`, `tokenizer` and `splitter` are not read.
Result<EvalReport> measure(const Model& model, const std::shared_ptr<const Tokenizer>& tokenizer,
                           const MeasureOptions& options, std::stop_token stop);

// Each prompt's mean reward over its scored completions, by its row in the data: what two models are compared
// by. kInvalidArgument naming a prompt of which none was scored.
Result<std::map<int64_t, double>> rewards_by_row(const EvalReport& report);
// The same in the order of the prompts.
Result<std::vector<double>> prompt_rewards(const EvalReport& report);

}  // namespace fulcrum::cli
