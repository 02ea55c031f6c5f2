// What a reward model is worth on preferences it was not trained on. Called by `eval` and by tests.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/data/dataset.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::cli {

struct JudgePairsOptions {
  std::string tokenizer, splitter;  // empty: the model's own
  std::vector<std::string> files;   // rows with prompt, chosen, rejected
};

struct PairsReport {
  int64_t pairs = 0;
  double accuracy = 0;  // share with the chosen one's score above the rejected one's; a tie is wrong
  double std_error = 0;
  double margin = 0;  // mean of chosen - rejected
  double mean_chosen = 0, mean_rejected = 0;
  BadRows bad_rows;  // left out
};

// `model` has a score head.
Result<PairsReport> judge_pairs(const Model& model, const JudgePairsOptions& options, std::stop_token stop);

}  // namespace fulcrum::cli
