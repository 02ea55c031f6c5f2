// The keys of the data, under TRL's and verl's names. Torch-free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/config.h"

namespace fulcrum {

struct DataConfig {
  std::vector<std::string> train_files;
  std::vector<std::string> val_files;
  int64_t prompts_per_step = 16;
  int64_t max_prompt_length = 512;
  int64_t max_length = 1024;
  std::string overlong_rows = "error";
  bool shuffle = true;

  void visit(ConfigVisitor& v) {
    v.field("train_files", train_files, "JSONL files to train on, read in this order as one data set");
    v.field("val_files", val_files, "JSONL files to evaluate on");
    v.field("prompts_per_step", prompts_per_step, between(1, 1 << 20),
            "rows of one optimizer step: prompts (grpo, dph_rl), pairs (dpo) or texts (sft)");
    v.field("max_prompt_length", max_prompt_length, at_least(1), "tokens a prompt may have (grpo, dph_rl)");
    v.field("max_length", max_length, at_least(2),
            "tokens a prompt and one answer may have together (sft, dpo)");
    v.field("overlong_rows", overlong_rows, Choices{{"error", "drop"}},
            "a row above max_prompt_length or max_length: stop and name it, or leave it out and count it");
    v.field("shuffle", shuffle,
            "a new order of the rows in every epoch, from the seed; false: the order of the files");
  }
};

}  // namespace fulcrum
