// The keys of one reward: an item of the job key `reward_funcs`. Torch-free, so that the client checks a job
// without an engine. A key that a judge does not use is refused (make_rewards.h); which uses what stands at
// the key.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/core/config.h"

namespace fulcrum {

struct RewardConfig {
  std::string name = "exact";
  double weight = 1.0;
  std::string extract = "auto";
  std::string marker = "####";
  bool ignore_case = false;
  std::string pattern;
  double tolerance = 0;
  std::string format = "think";
  std::optional<int64_t> target;
  std::optional<int64_t> max_length;
  int64_t soft_length = 0;
  double no_answer_score = 0;
  int64_t max_steps = 200000;
  std::string path;
  std::string address;
  double timeout_s = 10;

  void visit(ConfigVisitor& v) {
    v.field(
        "name", name,
        Choices{
            {"exact", "regex", "numeric", "math", "length", "format", "prefix_match", "model", "service"}},
        "who judges: a verifier of this name, `model`, a trained reward model, or `service`, a process of "
        "yours");
    v.field("weight", weight, any_value(), "factor of this reward in the sum");
    v.field("extract", extract,
            Choices{{"auto", "whole", "last_number", "boxed", "after_marker", "answer_tag"}},
            "where in the completion the answer stands (exact, numeric, math); auto: exact the whole text; "
            "numeric after "
            "the last marker, else in the last \\boxed{}, else the last number; math the last \\boxed{}, "
            "else the last formula");
    v.field("marker", marker,
            "text before the answer, for after_marker and auto (the last occurrence counts)");
    v.field("ignore_case", ignore_case, "exact and regex: upper and lower case are the same (ASCII letters)");
    v.field("pattern", pattern, "regex: an RE2 pattern that must match somewhere in the completion");
    v.field("tolerance", tolerance, at_least(0),
            "numeric and math: largest difference that still counts as equal");
    v.field("format", format, Choices{{"think", "think_answer", "boxed"}},
            "format: <think>...</think> then text; <think> then <answer> on lines of their own; a filled "
            "\\boxed{}");
    v.field("target", target, at_least(1),
            "length: score 1 at this many tokens, falling linearly to 0 at twice as many or none");
    v.field("max_length", max_length, at_least(1),
            "length: completions longer than this many tokens score -1");
    v.field("soft_length", soft_length, at_least(0),
            "length: the last so many tokens before max_length fall linearly from 0 to -1");
    v.field("no_answer_score", no_answer_score, any_value(), "score of a completion without an answer");
    v.field("max_steps", max_steps, between(100, 1e9),
            "work one verdict may cost; beyond it the verdict is timeout");
    v.field("path", path, "model: folder of the reward model, with its tokenizer");
    v.field("address", address, "service: host:port of a RewardService");
    v.field("timeout_s", timeout_s, above_up_to(0, 3600), "service: seconds one call may take");
  }
};

}  // namespace fulcrum
